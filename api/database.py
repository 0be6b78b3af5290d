"""The `postroom db` commands: the schema's version, and the move from one database to another."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import click
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from api import config
from api.core import migrations, transfer
from api.core.db import db as database
from api.core.migrations import SchemaError, Standing
from api.core.transfer import TransferError
from api.startup import opened, prepared


@click.group("db")
def db() -> None:
    """The database."""


@db.command()
def upgrade() -> None:
    """Bring the tables to this version's schema; every command that needs them does so by itself."""
    with prepared(config.read()):
        click.echo(f"{migrations.name()} is at schema {migrations.state().current}.")


@db.command()
@click.argument("revision")
@click.option("--yes", is_flag=True, help="Do not ask: what the older schema has no place for is lost.")
def downgrade(revision: str, yes: bool) -> None:
    """Take the tables back to REVISION, for an older version of Postroom; `base` removes them all."""
    with opened(config.read()):
        if not yes:
            click.confirm(f"Take {migrations.name()} back to schema {revision}?", abort=True)
        migrations.downgrade(revision)
        click.echo(f"{migrations.name()} is at schema {migrations.state().current or 'base'}.")


@db.command()
def check() -> None:
    """Tell whether the database can be used as it is; ends with status 1 if not."""
    with opened(config.read()):
        migrations.check()
        click.echo(f"{migrations.name()} is at schema {migrations.state().current}, as it should be.")


@db.command("copy")
@click.argument("source")
@click.argument("target")
@click.option(
    "--dispatching", is_flag=True, help="Copy even though a dispatcher works on SOURCE: its results are lost."
)
def copy(source: str, target: str, dispatching: bool) -> None:
    """Copy everything from SOURCE to TARGET, two database URLs, and verify it.

    TARGET gets this version's tables and must hold no row. Stop everything that works on SOURCE first. What ends the
    copy before its end leaves TARGET without a row: start it again.
    """
    if make_url(source) == make_url(target):
        raise TransferError("Source and target are the same database.")
    with ExitStack() as stack:
        old = stack.enter_context(_engine(source))
        if not dispatching and (alive := transfer.living(old)):
            raise TransferError(
                f"Dispatchers at work on the source: {alive}. Stop them, wait half a minute if they were killed, or say"
                " --dispatching."
            )
        new = stack.enter_context(_engine(target, upgrade=True))
        with click.progressbar(length=transfer.size(old), label="Copying", show_pos=True) as bar:

            def tell(_table: str, rows: int) -> None:
                bar.update(rows)

            sums = transfer.copy(old, new, tell)
    for name, one in sums.items():
        click.echo(f"{name:14} {one.rows:>10} rows  {one.checksum}")
    click.echo("The copy is complete, and what was read back is the same.")


@contextmanager
def _engine(url: str, *, upgrade: bool = False) -> Iterator[Engine]:
    """Give an engine on a database of this version's schema, made so with `upgrade`. Raises SchemaError."""
    settings = replace(config.Settings(), database_url=url)
    with (prepared if upgrade else opened)(settings):
        _refuse_unfit()
        yield database.engine


def _refuse_unfit() -> None:
    found = migrations.state()
    if found.standing is not Standing.CURRENT:
        raise SchemaError(
            f"The database {migrations.name()} is at schema {found.current or 'none'}, and this version needs"
            f" {found.head}: run `postroom db upgrade` on it first."
        )
