"""Users on the wire."""

import unicodedata
from typing import Any

from marshmallow import fields, validates_schema

from schemas.addresses import Email
from schemas.base import Answer, Instant, JsonObject, Line, List, Nested, Page, Request, String, Word
from schemas.complaints import Length, Regexp, wrong
from schemas.text import trimmed
from schemas.vocabulary import NotificationStatus

#: Characters of a username's compatibility form, which is what uniqueness compares: one ligature may stand for 18.
_LONGEST_KEY = 256
LOCALE = Regexp(r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$", error="Must be a language tag, like en or pt-BR (BCP 47).")


def _comparable(username: str) -> None:
    form = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", username).casefold())
    if len(form) > _LONGEST_KEY:
        raise wrong("Too long once its ligatures are taken apart.", "too_long")


def _username(**kwargs: Any) -> Line:
    return Line(
        trimmed,
        _comparable,
        longest=64,
        metadata={"description": "Unique, compared without case.", "example": "ann"},
        **kwargs,
    )


def _email(**kwargs: Any) -> Email:
    return Email(metadata={"description": "Unique, compared without case."}, **kwargs)


def _name(**kwargs: Any) -> Line:
    return Line(longest=200, metadata={"example": "Ann Example"}, **kwargs)


def _locale(**kwargs: Any) -> String:
    metadata = {"description": "The language of mail to this user (BCP 47).", "example": "en"}
    return String(validate=[Length(2, 35), LOCALE], metadata=metadata, **kwargs)


def _metadata(**kwargs: Any) -> JsonObject:
    description = "Anything of yours: at most 50 entries and 8 KiB."
    return JsonObject(largest=8 * 1024, entries=50, metadata={"description": description}, **kwargs)


class UserIn(Request):
    """A user to register."""

    username = _username(required=True)
    email = _email(required=True)
    name = _name()
    locale = _locale()
    metadata = _metadata()


class UserChange(Request):
    """What to change of a user; what is left out stays, and `metadata` is replaced as a whole."""

    username = _username()
    email = _email()
    name = _name(allow_none=True)
    locale = _locale(allow_none=True)
    metadata = _metadata()

    @validates_schema
    def _changes_something(self, data: dict[str, Any], **_kwargs: Any) -> None:
        if not data:
            raise wrong("Give at least one field to change.", "required")


class UserOut(Answer):
    """A user."""

    id = fields.UUID(required=True)
    username = fields.String(required=True)
    email = fields.String(required=True, metadata={"description": "With its domain in ASCII (IDNA 2008)."})
    name = fields.String(required=True, allow_none=True)
    locale = fields.String(required=True, allow_none=True)
    metadata = fields.Dict(required=True, attribute="metadata_")
    created_at = Instant(required=True)
    updated_at = Instant(required=True)


class QueuedOut(Answer):
    """A notification about a registration."""

    id = fields.UUID(required=True)
    template = fields.String(required=True)
    status = Word(NotificationStatus, required=True)
    url = fields.String(required=True, metadata={"description": "Where to follow it.", "format": "uri"})


class RegisteredOut(UserOut):
    """A user, and what registering it set going."""

    known = fields.Boolean(required=True, metadata={"description": "The same user was registered before; no mail."})
    notifications = List(Nested(QueuedOut()), required=True)


class KnownOut(RegisteredOut):
    """A user that was registered before. To a browser key only what it has said itself: the rest is null or empty."""

    id = fields.UUID(required=True, allow_none=True)
    created_at = Instant(required=True, allow_none=True)
    updated_at = Instant(required=True, allow_none=True)


class UserPage(Page):
    """Users, newest first."""

    data = List(Nested(UserOut()), required=True)
