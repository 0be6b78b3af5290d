"""What is said about a wrong value: a sentence for people and a stable code for programs.

| code | meaning |
| --- | --- |
| `required` | the field is missing |
| `null` | the field may not be null |
| `unknown_field` | there is no such field or parameter |
| `invalid_type` | a string for a list, a number for a string, … |
| `invalid_format` | not of the form that is asked for |
| `invalid_address` | not an address that mail can be sent to |
| `not_one_of` | not a word of the list |
| `too_short`, `too_long` | characters, entries, or bytes of JSON |
| `out_of_range` | a number that is too small or too large |
| `bad_text` | NUL or half a character: no mail or database can hold it |
| `control_character` | a line end, control, separator or bidi override in a one-line text |
| `repeated` | a query parameter, a header or a content id that is given twice |
| `not_allowed` | a header or a media type that no message may bring |
| `link` | something that reads like a link, in what a browser key sends |
| `simulated` | an address of the simulator, which only test keys may write to |
| `excluded` | may not stand beside another field that is given |
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from marshmallow import ValidationError, validate

#: By marshmallow's name of an error: the code, and what is said.
Sayings = Mapping[str, tuple[str, str]]


class Complaint(str):
    """A sentence about a wrong value; `code` is for programs."""

    code: str

    def __new__(cls, sentence: str, code: str = "invalid") -> "Complaint":
        """Return the sentence with its code."""
        complaint = super().__new__(cls, sentence)
        complaint.code = code
        return complaint


def wrong(sentence: str, code: str) -> ValidationError:
    """Return the error of a field, or of a whole schema."""
    return ValidationError(Complaint(sentence, code))


class Coded:
    """Mixin of fields whose errors keep their code, which marshmallow would lose when it formats the message."""

    #: A subclass adds to those of its bases.
    SAYS: ClassVar[Sayings] = {
        "required": ("required", "This field is required."),
        "null": ("null", "May not be null."),
    }

    def make_error(self, key: str, **values: Any) -> ValidationError:
        """Return the error of this name."""
        for kind in type(self).__mro__:
            if key in vars(kind).get("SAYS", {}):
                code, sentence = vars(kind)["SAYS"][key]
                return wrong(sentence.format(**values), code)
        raise LookupError(key)


class Length(validate.Length):
    """So many characters or entries, both ends included."""

    def __call__(self, value: Any) -> Any:
        """Return the value. Raises ValidationError."""
        size = len(value)
        if self.min is not None and size < self.min:
            raise wrong(f"At least {self.min} {_unit(value)}." if size else "May not be empty.", "too_short")
        if self.max is not None and size > self.max:
            raise wrong(f"At most {self.max} {_unit(value)}; these are {size}.", "too_long")
        return value


def _unit(value: Any) -> str:
    return "characters" if isinstance(value, str) else "entries"


class Range(validate.Range):
    """A number from `min` to `max`, both ends included."""

    def __call__(self, value: Any) -> Any:
        """Return the value. Raises ValidationError."""
        if not self.min <= value <= self.max:
            raise wrong(f"Must be from {self.min} to {self.max}.", "out_of_range")
        return value


class Regexp(validate.Regexp):
    """A text that the whole pattern matches."""

    def __call__(self, value: Any) -> Any:
        """Return the value. Raises ValidationError."""
        if self.regex.fullmatch(value) is None:
            raise wrong(self.error or "Not of the right form.", "invalid_format")
        return value
