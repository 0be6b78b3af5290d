"""Recipients that are named by their user: from ids to addresses, names and the language they share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select

from api.core.claim import Address
from api.core.db import db
from api.core.errors import FieldError, Invalid
from api.core.models import User
from schemas.vocabulary import Mode, RecipientKind


@dataclass(frozen=True, slots=True)
class Registered:
    """A recipient who is a user."""

    user_id: UUID


def resolve(message: Mapping[str, Any], *, mode: Mode) -> dict[str, Any]:
    """Return the message with an Address for each Registered recipient in `to`, `cc` and `bcc`.

    If it names no locale, it gets the one that all its recipients have; a bare address has none. A message to one
    user and nobody else is about that user. Raises Invalid with the pointer of each user that there is not.
    """
    lists: dict[str, Sequence[Address | Registered]] = {
        kind.value: message.get(kind.value, ()) for kind in RecipientKind
    }
    everybody = [one for given in lists.values() for one in given]
    named = {one.user_id for one in everybody if isinstance(one, Registered)}
    if not named:
        return dict(message)
    users = {user.id: user for user in db.session.scalars(select(User).where(User.id.in_(named), User.mode == mode))}
    _refuse_unknown(lists, users)
    resolved = {**message, **{name: [_address(one, users) for one in given] for name, given in lists.items()}}
    if all(isinstance(one, Registered) for one in everybody):
        if message.get("locale") is None:
            locales = {user.locale for user in users.values()}
            resolved["locale"] = locales.pop() if len(locales) == 1 else None
        if len(users) == 1 and message.get("user_id") is None:
            [resolved["user_id"]] = users
    return resolved


def _address(one: Address | Registered, users: Mapping[UUID, User]) -> Address:
    if isinstance(one, Address):
        return one
    user = users[one.user_id]
    return Address(user.email, user.name)


def _refuse_unknown(lists: Mapping[str, Sequence[Address | Registered]], users: Mapping[UUID, User]) -> None:
    wrong = [
        FieldError(f"/{name}/{index}/user_id", "There is no such user.", "unknown_user")
        for name, given in lists.items()
        for index, one in enumerate(given)
        if isinstance(one, Registered) and one.user_id not in users
    ]
    if wrong:
        raise Invalid("Some recipients are no users.", errors=wrong)
