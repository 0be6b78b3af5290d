"""What Alembic runs for every command: it binds the models' tables to the app's database."""

from typing import Any, Literal

import sqlalchemy as sa
from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

from api.core import migrations, tables
from api.core.db import Instant


def render(kind: str, item: Any, autogen: AutogenContext) -> str | Literal[False]:
    """Write column types in plain words, so that an old revision does not change with the code."""
    if kind != "type":
        return False
    if isinstance(item, Instant):
        return "sa.DateTime(timezone=True)"
    if isinstance(item, sa.Enum):
        return f"sa.String({item.length})"
    if isinstance(item, sa.JSON):
        autogen.imports.add("from sqlalchemy.dialects import postgresql")
        return "sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), 'postgresql')"
    return False


def differs(_context: Any, _found_column: Any, _column: Any, found: TypeEngine[Any], wanted: TypeEngine[Any]) -> Any:
    """Tell that a column's type has changed; None leaves it to Alembic."""
    if isinstance(wanted, sa.Enum):
        return not isinstance(found, sa.String) or found.length != wanted.length
    if isinstance(wanted, sa.JSON):
        return not isinstance(found, sa.JSON | postgresql.JSONB)
    return None


def drop_empty(_context: Any, _revision: Any, directives: list[Any]) -> None:
    """Write no revision where the models have not changed."""
    options = context.config.cmd_opts
    if getattr(options, "autogenerate", False) and directives[0].upgrade_ops.is_empty():
        directives.clear()


def run(connection: sa.Connection) -> None:
    """Do what the command asks for on this connection."""
    context.configure(
        connection=connection,
        target_metadata=tables.metadata,
        compare_type=differs,
        render_item=render,
        process_revision_directives=drop_empty,
        # SQLite changes a column only by making the table anew.
        render_as_batch=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with migrations.transaction() as own:
        run(own)
