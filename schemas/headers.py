"""Header fields of the caller's own, on the wire."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from marshmallow import ValidationError, fields

from schemas.base import String
from schemas.complaints import Coded, Complaint, Sayings, wrong
from schemas.text import not_blank, one_line

MOST_HEADERS = 20
LONGEST_NAME = 76
#: Characters of a header line, its name and `: ` included (RFC 5322 §2.1.1).
LONGEST_LINE = 998
#: RFC 5322 §3.6.8: printable ASCII without the colon.
_FIELD_NAME = re.compile(r"[!-9;-~]+")
#: Fields that are made from other parts of the message, and those that only a relay on the way may write.
_OWNED = re.compile(
    r"(?:from|to|cc|bcc|date|message-id|subject|reply-to|sender|mime-version|return-path|received|received-spf"
    r"|delivered-to|envelope-to|x-original-to|apparently-to|errors-to|dkim-signature|x-google-dkim-signature"
    r"|domainkey-signature|authentication-results|(?:content|resent|arc)-.*)",
    re.IGNORECASE,
)


class Headers(Coded, fields.Dict):
    """Header fields by their names; loads as `{name: value}`."""

    SAYS: ClassVar[Sayings] = {"invalid": ("invalid_type", "Must be an object.")}
    _value = String()

    def __init__(self, **kwargs: Any) -> None:
        metadata = {"maxProperties": MOST_HEADERS} | kwargs.pop("metadata", {})
        super().__init__(values=fields.String(), metadata=metadata, **kwargs)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> dict[str, str]:
        if not isinstance(value, Mapping):
            raise self.make_error("invalid")
        if len(value) > MOST_HEADERS:
            raise wrong(f"At most {MOST_HEADERS} headers; these are {len(value)}.", "too_long")
        errors: dict[str, Any] = {}
        seen: set[str] = set()
        for name, one in value.items():
            try:
                self._check(name, one, seen)
            except ValidationError as error:
                errors[name] = error.messages
            seen.add(name.lower())
        if errors:
            raise ValidationError(errors)
        return dict(value)

    def _check(self, name: str, value: Any, seen: set[str]) -> None:
        if len(name) > LONGEST_NAME:
            raise wrong(f"A header's name has at most {LONGEST_NAME} characters.", "too_long")
        if _FIELD_NAME.fullmatch(name) is None:
            raise wrong("Not a header's name.", "invalid_format")
        if _OWNED.fullmatch(name):
            raise wrong("This header is not the caller's to set.", "not_allowed")
        if name.lower() in seen:
            raise wrong("Stands twice, in another case.", "repeated")
        text = self._value.deserialize(value)
        one_line(text)
        not_blank(text)
        room = LONGEST_LINE - len(name) - 2
        if len(text) > room:
            raise ValidationError([Complaint(f"At most {room} characters; these are {len(text)}.", "too_long")])
