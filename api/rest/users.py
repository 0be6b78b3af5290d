"""The views under /v1/users."""

from typing import Any
from uuid import UUID

from flask import g

from api.core import browsers, users
from api.core.receipts import Ticket
from api.rest import examples, links, preconditions
from api.rest.blueprint import Blueprint
from schemas.base import ListQuery
from schemas.users import KnownOut, RegisteredOut, UserChange, UserIn, UserOut, UserPage
from schemas.vocabulary import Scope

blp = Blueprint("users", __name__, url_prefix="/v1/users", description="Registering users, with their notices.")

#: Seconds after which a status that has just been queued is worth asking for.
FIRST_LOOK = "2"
#: What a browser is not told of a user that was known.
_OURS = ("id", "name", "locale", "created_at", "updated_at")


@blp.operation("POST", "", id="register_user", scope=Scope.USERS_WRITE)
@blp.body(UserIn(), examples={"A user": examples.USER_IN, "The least": examples.LEAST_USER_IN})
@blp.answers(
    202,
    RegisteredOut(),
    description="Registered, and the notices are queued. `Location` is the status of the first of them.",
    example=examples.REGISTERED,
    headers=("Location", "Content-Location", "Retry-After"),
)
@blp.also(
    201,
    RegisteredOut(),
    description="Registered; there was nothing to send.",
    example=examples.REGISTERED_SILENTLY,
    headers=("Location",),
)
@blp.also(
    200,
    KnownOut(),
    description="Known already; nothing is sent.",
    example=examples.KNOWN,
    headers=("Content-Location",),
)
@blp.fails(409)
@blp.once(RegisteredOut(), lambda registration: (_registered(registration), *_outcome(registration)))
def register(body: dict[str, Any], ticket: Ticket | None) -> Any:
    """Register a user.

    The user and the notices about it, to the operator's administrator and the welcome mail, are stored together or
    not at all. Registering the same username and e-mail address again is harmless. A browser key may do this too, in
    plain words: no links, and at most 50 values of 200 characters on one line.
    """
    browsers.check_user(body, key=g.key)
    return users.register(key=g.key, ticket=ticket, **body)


@blp.operation("GET", "", id="list_users", scope=Scope.USERS_READ)
@blp.query(ListQuery())
@blp.answers(200, UserPage(), example=examples.USER_PAGE, headers=("Link",))
def search(query: dict[str, Any]) -> Any:
    """List the users, newest first."""
    return links.listed(users.search(key=g.key, **query), lambda user: user, "v1", "users")


@blp.operation("GET", "/<uuid:user_id>", id="get_user", scope=Scope.USERS_READ)
@preconditions.tagged
@blp.answers(200, UserOut(), example=examples.USER, headers=("ETag",))
@blp.also(304, description="Still as the ETag says.", headers=("ETag",))
def get(user_id: UUID) -> Any:
    """Show a user."""
    user = users.get(user_id, key=g.key)
    return user, {"ETag": preconditions.etag(user.version)}


@blp.operation("PATCH", "/<uuid:user_id>", id="change_user", scope=Scope.USERS_WRITE)
@blp.body(UserChange(), examples={"Another name": examples.USER_CHANGE})
@blp.answers(200, UserOut(), example=examples.USER, headers=("ETag",))
@blp.fails(409, 412, 428)
def change(body: dict[str, Any], user_id: UUID) -> Any:
    """Change a user that is still as the ETag in `If-Match` says.

    What is left out stays as it is; null takes a name or a locale away.
    """
    version = preconditions.wanted_version(required=True)
    user = users.change(user_id, key=g.key, version=version, **body)
    return user, {"ETag": preconditions.etag(user.version)}


@blp.operation("DELETE", "/<uuid:user_id>", id="erase_user", scope=Scope.USERS_WRITE)
@blp.answers(204, description="Erased.")
@blp.fails(412)
def erase(user_id: UUID) -> None:
    """Erase a user.

    Mail to them that waits is cancelled, their data is erased everywhere, and the counts stay.
    """
    users.erase(user_id, key=g.key, version=preconditions.wanted_version(required=False))


def _registered(registration: users.Registration) -> dict[str, Any]:
    user = registration.user
    if _is_strangers(registration):
        # Not even the id: who has it may have mail sent there.
        return {**dict.fromkeys(_OURS), **_as_given(g.body), "known": True, "notifications": []}
    return {
        **{name: getattr(user, name) for name in ("id", "username", "email", "name", "locale", "metadata_")},
        "created_at": user.created_at,
        "updated_at": user.updated_at,
        "known": registration.known,
        "notifications": [
            {
                "id": notice.id,
                "template": notice.template_name,
                "status": notice.status,
                "url": links.to("v1", "notifications", notice.id),
            }
            for notice in registration.notifications
        ],
    }


def _as_given(body: dict[str, Any]) -> dict[str, Any]:
    return {"username": body["username"], "email": body["email"], "metadata_": {}}


def _is_strangers(registration: users.Registration) -> bool:
    """Tell whether the user was there before a browser named it: then nobody there is told more than they said."""
    return registration.known and g.key.is_browser


def _outcome(registration: users.Registration) -> tuple[int, dict[str, str]]:
    where = links.to("v1", "users", registration.user.id)
    if _is_strangers(registration):
        return 200, {}
    if registration.known:
        return 200, {"Content-Location": where}
    if not registration.notifications:
        return 201, {"Location": where}
    status = links.to("v1", "notifications", registration.notifications[0].id)
    return 202, {"Location": status, "Content-Location": where, "Retry-After": FIRST_LOOK}
