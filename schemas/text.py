"""What a text may hold: what neither the database nor a mail header can carry is refused here, by character."""

import json
import re
from collections.abc import Mapping
from typing import Any

from schemas.complaints import Complaint, wrong

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
#: Controls (C0, DEL, C1), the line and paragraph separators, and the characters that turn the reading order around
#: (UAX #9): in a header or a list they would show what is not there. Also the JSON Schema pattern, so in its dialect.
ONE_LINE = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]*$"
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_ONE_LINE = re.compile(ONE_LINE.removesuffix("$"))


def is_storable(text: str) -> bool:
    """Tell whether a database and a mail can hold the text: no NUL, no half of a surrogate pair."""
    return (text.isascii() and "\0" not in text) or _UNSTORABLE.search(text) is None


def one_line(value: str) -> None:
    """Raise ValidationError if the text could end a line, or read as something else than it is."""
    found = _ONE_LINE.match(value)
    if found is None or found.end() != len(value):
        place = found.end() if found else 0
        character = f"U+{ord(value[place]):04X}"
        raise wrong(f"Must be one line; {character} at position {place} may not be in it.", "control_character")


def trimmed(value: str) -> None:
    """Raise ValidationError if the text begins or ends with white space."""
    if value != value.strip():
        raise wrong("May not begin or end with white space.", "invalid_format")


def not_blank(value: str) -> None:
    """Raise ValidationError if the text is nothing but white space."""
    if not value.strip():
        raise wrong("May not be blank.", "too_short")


def json_complaints(value: Any) -> Any:
    """Return marshmallow's messages for what cannot be stored in a JSON value, at its place; None if all is well."""
    if isinstance(value, str):
        return None if is_storable(value) else [Complaint("Holds NUL or half a character.", "bad_text")]
    if isinstance(value, Mapping):
        found = {key: _entry_complaints(key, one) for key, one in value.items()}
    elif isinstance(value, list):
        found = {index: json_complaints(one) for index, one in enumerate(value)}
    else:
        return None
    return {key: said for key, said in found.items() if said} or None


def _entry_complaints(key: str, value: Any) -> Any:
    if is_storable(key):
        return json_complaints(value)
    return [Complaint("The name holds NUL or half a character.", "bad_text")]


def is_plainly_fine(entries: Mapping[str, Any], largest: int) -> bool:
    """Tell whether an object holds nothing but short ASCII texts: then there is nothing to complain of, nor to measure.

    `largest` is the size in bytes as compact JSON that it may have.
    """
    characters = 0
    for key, value in entries.items():
        if type(value) is not str or not (value.isascii() and key.isascii()) or "\0" in value or "\0" in key:
            return False
        characters += len(key) + len(value)
    # A character takes six bytes at most (\u001f); each entry four quotes, a colon and a comma.
    return 6 * (characters + len(entries)) + 2 <= largest


def json_size(value: Any) -> int:
    """Return how many bytes a value takes as compact JSON in UTF-8."""
    return len(_COMPACT.encode(value).encode())
