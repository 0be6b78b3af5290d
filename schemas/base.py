"""What all schemas stand on: requests refuse what they do not know, answers may gain fields; nothing is coerced."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from sys import maxsize
from typing import Any, ClassVar

from marshmallow import EXCLUDE, RAISE, Schema, ValidationError, fields

from schemas.complaints import Coded, Complaint, Length, Range, Sayings, wrong
from schemas.instants import to_the_second
from schemas.loading import Brisk, Way, each_at_once, way
from schemas.text import ONE_LINE, is_plainly_fine, is_storable, json_complaints, json_size, one_line

_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,19}")


_SAID: dict[str, str] = {
    "unknown": Complaint("Unknown field.", "unknown_field"),
    "type": Complaint("Must be an object.", "invalid_type"),
}


def rfc3339(time: datetime) -> str:
    """Return an aware time as it stands on the wire: in UTC, with milliseconds and `Z`."""
    utc = time if time.tzinfo is UTC else time.astimezone(UTC)
    return f"{to_the_second(utc, 'T')}.{utc.microsecond // 1000:03}Z"


class Request(Brisk):
    """A body or a query: an unknown field is a mistake of the caller's, and said to be one."""

    error_messages = _SAID

    class Meta:
        """Options of marshmallow."""

        unknown = RAISE


class Answer(Schema):
    """A body of ours. It may gain fields, so its description must not forbid others."""

    class Meta:
        """Options of marshmallow."""

        unknown = EXCLUDE


class String(Coded, fields.String):
    """A text that a database and a mail can hold."""

    SAYS: ClassVar[Sayings] = {
        "invalid": ("invalid_type", "Must be a string."),
        "bad_text": ("bad_text", "Holds NUL or half a character."),
    }
    #: Rules, besides that of the length, which a plain text obeys.
    _SETTLED: ClassVar[Sequence[Any]] = ()

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str):
            raise self.make_error("invalid")
        if not is_storable(value):
            raise self.make_error("bad_text")
        return value

    def shorter(self) -> Way | None:
        """Return a way on which a plain text is asked all that can be asked of any at once."""
        if type(self)._deserialize is not String._deserialize:
            return None
        rules = tuple(rule for rule in self.validators if not (isinstance(rule, Length) or rule in self._SETTLED))
        asked = tuple(rule for rule in self.validators if rule not in rules)
        least = max([rule.min or 0 for rule in asked if isinstance(rule, Length)], default=0)
        most = min([rule.max or maxsize for rule in asked if isinstance(rule, Length)], default=maxsize)
        is_plain = self._is_plain

        def read(value: Any, attr: Any, data: Any) -> str:
            if type(value) is str and least <= len(value) <= most and is_plain(value):
                return value
            text = self._deserialize(value, attr, data)
            for rule in asked:
                rule(text)
            return text

        return read, rules

    @staticmethod
    def _is_plain(text: str) -> bool:
        return text.isascii() and "\0" not in text


class Line(String):
    """A text of one line, of `shortest` to `longest` characters, as a mail header can hold it."""

    _SETTLED = (one_line,)

    def __init__(self, *rules: Any, shortest: int = 1, longest: int, **kwargs: Any) -> None:
        metadata = {"pattern": ONE_LINE} | kwargs.pop("metadata", {})
        super().__init__(validate=[Length(shortest, longest), one_line, *rules], metadata=metadata, **kwargs)

    @staticmethod
    def _is_plain(text: str) -> bool:
        return text.isascii() and text.isprintable()


class List(Coded, fields.List[Any]):
    """A list, and nothing that could pass for one."""

    SAYS: ClassVar[Sayings] = {"invalid": ("invalid_type", "Must be a list.")}
    _way: Way | None = None

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> list[Any]:
        if not isinstance(value, list):
            raise self.make_error("invalid")
        if self._way is None:
            self._way = way(self.inner)
        try:
            return each_at_once(self._way, value)
        except ValidationError:
            return super()._deserialize(value, attr, data, **kwargs)


class Nested(Coded, fields.Nested):
    """An object with a schema of its own."""

    SAYS: ClassVar[Sayings] = {"type": ("invalid_type", "Must be an object.")}


class Word(Coded, fields.Enum[Any]):
    """A word of a closed vocabulary, in its exact spelling."""

    SAYS: ClassVar[Sayings] = {"unknown": ("not_one_of", "Must be one of: {choices}.")}

    def __init__(self, vocabulary: type[StrEnum], **kwargs: Any) -> None:
        super().__init__(vocabulary, by_value=True, **kwargs)

    def _serialize(self, value: Any, attr: Any, obj: Any, **kwargs: Any) -> Any:
        # Where a column holds a list of words, they come back as plain text.
        return None if value is None else str(value)


class Instant(Coded, fields.DateTime):
    """A point in time: RFC 3339 with an offset on the way in, UTC with milliseconds and `Z` on the way out."""

    SAYS: ClassVar[Sayings] = {
        "invalid_format": ("invalid_format", "Must be an RFC 3339 time with an offset, like 2027-01-01T09:00:00Z."),
        "out_of_range": ("out_of_range", "No calendar has this time."),
    }

    def _serialize(self, value: Any, attr: Any, obj: Any, **kwargs: Any) -> Any:
        return None if value is None else rfc3339(value)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> datetime:
        if not isinstance(value, str) or _RFC3339.fullmatch(value) is None:
            raise self.make_error("invalid_format")
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            raise self.make_error("out_of_range") from None


class WholeNumber(Coded, fields.Integer):
    """A whole number out of a query, where every value is text."""

    SAYS: ClassVar[Sayings] = {"invalid": ("invalid_type", "Must be a whole number.")}

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> int:
        if not isinstance(value, str) or _WHOLE_NUMBER.fullmatch(value) is None:
            raise self.make_error("invalid")
        return int(value)


class Boolean(Coded, fields.Boolean):
    """True or false, and no word or number for it."""

    SAYS: ClassVar[Sayings] = {"invalid": ("invalid_type", "Must be true or false.")}

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid")
        return value


class JsonObject(Coded, fields.Dict):
    """A JSON object with any content, bounded by its size in bytes and its number of entries."""

    SAYS: ClassVar[Sayings] = {"invalid": ("invalid_type", "Must be an object.")}

    def __init__(self, *, largest: int, entries: int | None = None, **kwargs: Any) -> None:
        self.largest = largest
        self.entries = entries
        bounds = {} if entries is None else {"maxProperties": entries}
        super().__init__(metadata=bounds | kwargs.pop("metadata", {}), **kwargs)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, Mapping):
            raise self.make_error("invalid")
        if self.entries is not None and len(value) > self.entries:
            raise wrong(f"At most {self.entries} entries; these are {len(value)}.", "too_long")
        if is_plainly_fine(value, self.largest):
            return dict(value)
        complaints = json_complaints(value)
        if complaints:
            raise ValidationError(complaints)
        if json_size(value) > self.largest:
            raise wrong(f"At most {self.largest // 1024} KiB as JSON.", "too_long")
        return dict(value)


class Id(Coded, fields.UUID):
    """The id of a resource, in the one form that ours have: with its hyphens, in any case."""

    SAYS: ClassVar[Sayings] = {"invalid_uuid": ("invalid_format", "Must be a UUID.")}

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, str) or _UUID.fullmatch(value) is None:
            raise self.make_error("invalid_uuid")
        return super()._deserialize(value, attr, data, **kwargs)


class ListQuery(Request):
    """Which part of a list is asked for."""

    limit = WholeNumber(
        load_default=50, validate=Range(1, 100), metadata={"description": "How many at most.", "example": 50}
    )
    after = String(metadata={"description": "The `next` of the page before. An altered one is answered 400."})


class Page(Answer):
    """One page of a list; each list says what `data` is, which stands here for its place before `next`."""

    data = List(fields.Raw(), required=True)
    next = String(
        required=True,
        allow_none=True,
        metadata={"description": "Give it as `after` to get the next page; null on the last one."},
    )
