"""Files that go with a message, on the wire."""

import re
from typing import Any, ClassVar

from marshmallow import ValidationError, fields

from schemas.base import Answer, Line, Nested, Request, String
from schemas.complaints import Complaint, Length, Regexp, Sayings, wrong
from schemas.text import trimmed

#: Octets of a file name: what file systems hold.
LONGEST_FILENAME = 255
#: Entries of one list; how many files are really allowed is counted elsewhere.
LONGEST_LIST = 100
#: RFC 6838 §4.2.
_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_MEDIA_TYPE = rf"^{_NAME}/{_NAME}(; ?charset=[A-Za-z0-9][A-Za-z0-9._+-]{{0,39}})?$"
_COMPOSITE = re.compile(r"(?:message|multipart)/", re.IGNORECASE)
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
#: By the number of padding characters: the last characters whose spare bits are all zero.
_LAST = {0: _ALPHABET, 1: _ALPHABET[::4], 2: _ALPHABET[::16]}


class Base64(String):
    """Bytes as the one base64 text that stands for them (RFC 4648 §4): padded, no line ends, no spare bits set.

    Stays text: it is measured before it is decoded.
    """

    SAYS: ClassVar[Sayings] = {
        "invalid_format": ("invalid_format", "Must be base64 in its standard alphabet, padded, without line ends."),
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(metadata={"format": "byte"} | kwargs.pop("metadata", {}), **kwargs)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if not _is_base64(text):
            raise self.make_error("invalid_format")
        return text


def _is_base64(text: str) -> bool:
    if not text.isascii() or len(text) % 4:
        return False
    characters = text[-4:].encode()
    padding = len(characters) - len(characters.rstrip(b"="))
    if padding > 2 or text.encode().translate(None, _ALPHABET) != b"=" * padding:
        return False
    return not text or characters[-1 - padding] in _LAST[padding]


def _plain_name(name: str) -> None:
    if len(name.encode()) > LONGEST_FILENAME:
        raise wrong(f"At most {LONGEST_FILENAME} bytes in UTF-8.", "too_long")
    if "/" in name or "\\" in name:
        raise wrong("Must be a name without a path.", "invalid_format")
    if name.startswith("."):
        raise wrong("May not begin with a dot.", "invalid_format")


def _not_composite(media_type: str) -> None:
    if _COMPOSITE.match(media_type):
        raise wrong("May not be a message or hold parts of its own.", "not_allowed")


class AttachmentIn(Request):
    """A file to send; with a `content_id` the HTML shows it as `cid:<content_id>`."""

    filename = Line(
        trimmed,
        _plain_name,
        required=True,
        longest=LONGEST_FILENAME,
        metadata={"description": "A name without a path, at most 255 bytes in UTF-8.", "example": "invoice.pdf"},
    )
    content_type = String(
        required=True,
        validate=[
            Length(3, 255),
            Regexp(_MEDIA_TYPE, error="Must be a media type, like application/pdf or text/csv; charset=utf-8."),
            _not_composite,
        ],
        metadata={"description": "No `message/*` or `multipart/*`.", "example": "application/pdf"},
    )
    content = Base64(required=True, metadata={"description": "The bytes in base64.", "example": "JVBERi0xLjcK"})
    content_id = String(
        validate=[
            Length(1, 64),
            Regexp(r"^[A-Za-z0-9._-]+$", error="Must be letters, digits, dots, underscores and hyphens."),
        ],
        metadata={"description": "What the HTML names it by; each once in a message.", "example": "logo"},
    )


class Attachments(Nested):
    """Files, or one of them alone; loads as a list."""

    SAYS: ClassVar[Sayings] = {"type": ("invalid_type", "Must be an object or a list of objects.")}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(AttachmentIn(), **kwargs)

    def _deserialize(self, value: Any, attr: Any, data: Any, partial: Any = None, **kwargs: Any) -> list[Any]:
        if not isinstance(value, list):
            return [self._one(value, attr, data, **kwargs)]
        if len(value) > LONGEST_LIST:
            raise wrong(f"At most {LONGEST_LIST} entries; these are {len(value)}.", "too_long")
        loaded: list[Any] = []
        errors: dict[Any, Any] = {}
        ids: set[str] = set()
        for index, one in enumerate(value):
            try:
                file = self._one(one, attr, data, **kwargs)
            except ValidationError as error:
                errors[index] = error.messages
                continue
            loaded.append(file)
            content_id = file.get("content_id")
            if content_id in ids:
                errors[index] = {"content_id": [Complaint("Stands twice in the message.", "repeated")]}
            elif content_id is not None:
                ids.add(content_id)
        if errors:
            raise ValidationError(errors)
        return loaded

    def _one(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, dict):
            raise self.make_error("type")
        return super()._deserialize(value, attr, data, **kwargs)


class AttachedOut(Answer):
    """A file of a message, without its bytes."""

    filename = fields.String(required=True)
    content_type = fields.String(required=True)
    size = fields.Integer(required=True, metadata={"description": "In bytes."})
    content_id = fields.String(required=True, allow_none=True)
