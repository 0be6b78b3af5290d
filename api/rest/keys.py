"""The views under /v1/keys."""

from typing import Any
from uuid import UUID

from flask import g

from api.core import browsers, keys
from api.core.errors import NotAllowed
from api.core.models import ApiKey
from api.rest import examples, links
from api.rest.blueprint import Blueprint
from schemas.base import ListQuery
from schemas.keys import KeyIn, KeyPage, NewKeyOut
from schemas.vocabulary import Mode, Scope

blp = Blueprint("keys", __name__, url_prefix="/v1/keys", description="API keys.")


@blp.operation("POST", "", id="create_key", scope=Scope.ADMIN)
@blp.body(KeyIn(), examples={"A key that may send": examples.KEY_IN, "A browser key": examples.BROWSER_KEY_IN})
@blp.answers(201, NewKeyOut(), description="Made. The secret is in `key`, this once.", example=examples.NEW_KEY)
def create(body: dict[str, Any]) -> Any:
    """Make a key.

    A test key cannot make a live one. With `origins` it is a browser key.
    """
    key, secret = _made({**body, "mode": _allowed(body.get("mode"))})
    names = ("id", "name", "hint", "mode", "scopes", "origins", "templates", "created_at", "revoked_at")
    return {**{name: getattr(key, name) for name in names}, "key": secret}


@blp.operation("GET", "", id="list_keys", scope=Scope.ADMIN)
@blp.query(ListQuery())
@blp.answers(200, KeyPage(), example=examples.KEY_PAGE, headers=("Link",))
def search(query: dict[str, Any]) -> Any:
    """List the keys, newest first, the revoked ones too."""
    return links.listed(keys.search(key=g.key, **query), lambda key: key, "v1", "keys")


@blp.operation("DELETE", "/<uuid:key_id>", id="revoke_key", scope=Scope.ADMIN)
@blp.answers(204, description="Revoked.")
def revoke(key_id: UUID) -> None:
    """Revoke a key; doing it again is harmless."""
    keys.revoke(key_id, key=g.key)


def _made(body: dict[str, Any]) -> tuple[ApiKey, str]:
    return browsers.create(**{"templates": [], **body}) if "origins" in body else keys.create(**body)


def _allowed(mode: Mode | None) -> Mode:
    if mode is Mode.LIVE and g.key.mode is Mode.TEST:
        raise NotAllowed("A test key cannot make a live one.")
    own: Mode = g.key.mode
    return mode or own
