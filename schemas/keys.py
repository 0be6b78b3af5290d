"""API keys on the wire."""

import ipaddress
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from marshmallow import ValidationError, fields, validates_schema

from schemas.base import Answer, Instant, Line, List, Nested, Page, Request, String, Word
from schemas.complaints import Complaint, Length, Sayings
from schemas.vocabulary import Mode, Scope

MOST_ORIGINS = 20
MOST_TEMPLATES = 50
_HOST = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
#: As browsers serialise it (RFC 6454 §6.2): lower case, no path, no port that the scheme has anyway.
ORIGIN = rf"^https?://(?:{_HOST}(?:\.{_HOST})*|\[[0-9a-f:]{{2,39}}\])(?::[1-9][0-9]{{0,4}})?$"
_ORIGIN = re.compile(
    rf"https?://(?:{_HOST}(?:\.{_HOST})*|\[(?P<literal>[0-9a-f:.]+)\])(?::(?P<port>[1-9][0-9]{{0,4}}))?"
)
_NEEDLESS = re.compile(r"http://.*:80|https://.*:443")


class Origin(String):
    """An origin exactly as browsers send it."""

    SAYS: ClassVar[Sayings] = {
        "invalid_format": (
            "invalid_format",
            "Must be an origin as browsers send it, like https://app.example.org or http://localhost:3000.",
        ),
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(validate=Length(8, 255), metadata={"pattern": ORIGIN}, **kwargs)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if not is_origin(text):
            raise self.make_error("invalid_format")
        return text


def is_origin(text: str) -> bool:
    """Tell whether a text is an origin as browsers send it."""
    found = _ORIGIN.fullmatch(text) if len(text) <= 255 else None
    if found is None or _NEEDLESS.fullmatch(text) or int(found["port"] or 1) > 65535:
        return False
    return found["literal"] is None or _is_compressed(found["literal"])


def _is_compressed(literal: str) -> bool:
    try:
        return str(ipaddress.IPv6Address(literal)) == literal
    except ValueError:
        return False


class KeyIn(Request):
    """A key to make: with `scopes`, or for browsers with the `origins` of the pages and the `templates` to send."""

    name = Line(required=True, longest=100, metadata={"description": "What it is for.", "example": "web shop"})
    scopes = List(Word(Scope), validate=Length(1, len(Scope)))
    origins = List(
        Origin(),
        validate=Length(1, MOST_ORIGINS),
        metadata={
            "description": "Makes a browser key, `pr_pub_…`, which anybody may see: it registers users and sends its "
            "templates to them, from pages of exactly these origins.",
            "example": ["https://app.example.org"],
        },
    )
    templates = List(
        Line(longest=64),
        validate=Length(0, MOST_TEMPLATES),
        metadata={"description": "What a browser key may send.", "example": ["welcome"]},
    )
    mode = Word(Mode, metadata={"description": "`test` delivers to the captured inbox only; if left out, as yours."})

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def _is_of_one_kind(self, _data: dict[str, Any], original: Any, **_kwargs: Any) -> None:
        if isinstance(original, Mapping) and (errors := _mixed(original)):
            raise ValidationError(errors)


def _mixed(given: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return what is wrong with a key that is half of one kind and half of the other, by field."""
    if "origins" in given and "scopes" in given:
        return {"scopes": [Complaint("A browser key has no scopes.", "excluded")]}
    if "origins" not in given and "templates" in given:
        return {"origins": [Complaint("A key with templates is for browsers and needs origins.", "required")]}
    if "origins" not in given and "scopes" not in given:
        return {"scopes": [Complaint("This field is required.", "required")]}
    return {}


class KeyOut(Answer):
    """A key, by its last four characters."""

    id = fields.UUID(required=True)
    name = fields.String(required=True)
    hint = fields.String(required=True, metadata={"description": "The last four characters."})
    mode = Word(Mode, required=True)
    scopes = List(Word(Scope), required=True)
    origins = List(
        fields.String(), required=True, allow_none=True, metadata={"description": "Null but for a browser key."}
    )
    templates = List(
        fields.String(), required=True, allow_none=True, metadata={"description": "Null but for a browser key."}
    )
    created_at = Instant(required=True)
    revoked_at = Instant(required=True, allow_none=True)


class NewKeyOut(KeyOut):
    """A key that was just made, with its secret."""

    key = fields.String(required=True, metadata={"description": "The secret. It is shown here and never again."})


class KeyPage(Page):
    """Keys, newest first, the revoked ones too."""

    data = List(Nested(KeyOut()), required=True)
