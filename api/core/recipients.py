"""Recipients that are named by their user: from ids to addresses, names and the language they share."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select

from api.core.claim import Address
from api.core.db import reading
from api.core.errors import FieldError, Invalid
from api.core.models import User
from schemas.vocabulary import KINDS, Mode

#: Users read in one statement; a database takes only so many values.
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Registered:
    """A recipient who is a user."""

    user_id: UUID


def find(messages: Iterable[Mapping[str, Any]], *, mode: Mode) -> dict[UUID, User]:
    """Return the users that these messages name in `to`, `cc` and `bcc`, by their ids, as far as there are such."""
    named = {one.user_id for message in messages for one in _everybody(message) if isinstance(one, Registered)}
    ids = list(named)
    found: dict[UUID, User] = {}
    with reading() as session:
        for start in range(0, len(ids), _AT_ONCE):
            theirs = User.id.in_(ids[start : start + _AT_ONCE])
            found |= {user.id: user for user in session.scalars(select(User).where(theirs, User.mode == mode))}
    return found


def resolve(message: Mapping[str, Any], users: Mapping[UUID, User]) -> dict[str, Any]:
    """Return the message with an Address for each Registered recipient in `to`, `cc` and `bcc`, who is among `users`.

    If it names no locale, it gets the one that all its recipients have; a bare address has none. A message to one
    user and nobody else is about that user. Raises Invalid with the pointer of each user that there is not.
    """
    everybody = _everybody(message)
    named = {one.user_id for one in everybody if isinstance(one, Registered)}
    if not named:
        return dict(message)
    lists = {kind.value: message.get(kind.value, ()) for kind in KINDS}
    _refuse_unknown(lists, users)
    resolved = {**message, **{name: [_address(one, users) for one in given] for name, given in lists.items()}}
    if all(isinstance(one, Registered) for one in everybody):
        if message.get("locale") is None:
            locales = {users[id_].locale for id_ in named}
            resolved["locale"] = locales.pop() if len(locales) == 1 else None
        if len(named) == 1 and message.get("user_id") is None:
            [resolved["user_id"]] = named
    return resolved


def resolve_one(message: Mapping[str, Any], *, mode: Mode) -> Mapping[str, Any]:
    """Return one message as `resolve` does, with the users that it names. Raises Invalid."""
    if any(isinstance(one, Registered) for one in _everybody(message)):
        return resolve(message, find([message], mode=mode))
    return message


def _everybody(message: Mapping[str, Any]) -> list[Address | Registered]:
    return [one for kind in KINDS for one in message.get(kind, ())]


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
