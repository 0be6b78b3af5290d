"""`postroom keys`: making, listing and revoking API keys."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import click
from marshmallow import ValidationError

from api import config
from api.core import browsers, keys
from api.core.models import ApiKey
from api.rest import pointers
from api.startup import prepared
from schemas.keys import KeyIn
from schemas.vocabulary import Mode, Scope


@click.group("keys")
def api_keys() -> None:
    """API keys."""


@api_keys.command()
@click.option("--name", required=True, help="What the key is for.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([one.value for one in Scope]),
    help="What it may do; may be repeated.",
)
@click.option("--browser", is_flag=True, help="For pages that anybody may read: with --origin instead of --scope.")
@click.option("--origin", "origins", multiple=True, help="Where such a page comes from; may be repeated.")
@click.option("--template", "templates", multiple=True, help="What such a page may send; may be repeated.")
@click.option("--test", is_flag=True, help="Its mail goes to the captured inbox only.")
def create(name: str, browser: bool, test: bool, **given: tuple[str, ...]) -> None:
    """Make a key, and print it alone on the last line; it cannot be had again."""
    mode = Mode.TEST if test else Mode.LIVE
    _refuse_mixtures(browser, **given)
    kind = ("origins", "templates") if browser else ("scopes",)
    wanted = _checked({"name": name.strip(), "mode": mode.value, **{one: list(given[one]) for one in kind}})
    with prepared(config.read()):
        made, secret = (browsers.create if browser else keys.create)(**wanted)
        click.echo(f"{made.mode} key {made.id}, {', '.join(_range(made))}:")
        click.echo(secret)


@api_keys.command("list")
def list_keys() -> None:
    """List the keys, newest first: id, mode, last four characters, when made, state, scopes or origins, name."""
    with prepared(config.read()):
        for key in _every_key():
            state = "revoked" if key.revoked_at else "active"
            made = key.created_at.strftime("%Y-%m-%dT%H:%M:%SZ")
            click.echo(f"{key.id}  {key.mode}  …{key.hint}  {made}  {state:7}  {','.join(_range(key))}  {key.name}")


@api_keys.command()
@click.argument("key_id", metavar="ID", type=click.UUID)
def revoke(key_id: UUID) -> None:
    """Make a key useless."""
    with prepared(config.read()):
        keys.revoke(key_id)
        click.echo(f"{key_id} is revoked.")


def _refuse_mixtures(
    browser: bool, *, scopes: tuple[str, ...], origins: tuple[str, ...], templates: tuple[str, ...]
) -> None:
    if browser and (scopes or not origins):
        raise click.UsageError("A browser key needs --origin, and has no --scope.")
    if not browser and (origins or templates or not scopes):
        raise click.UsageError("A key needs --scope; --origin and --template are for --browser.")


def _checked(key: dict[str, Any]) -> dict[str, Any]:
    """Return what is to be made, read by the rules that the API has for it."""
    try:
        return dict(KeyIn().load(key))
    except ValidationError as error:
        first = next(pointers.errors(error.messages))
        option = f"--{first.pointer.split('/')[1].removesuffix('s')}"
        raise click.BadParameter(first.detail, param_hint=option) from None


def _range(key: ApiKey) -> list[str]:
    return ["browser", *(key.origins or ())] if key.is_browser else key.scopes


def _every_key() -> Iterator[ApiKey]:
    after = None
    while True:
        page = keys.search(limit=100, after=after)
        yield from page.data
        if (after := page.next) is None:
            return
