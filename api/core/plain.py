"""What may go into a template, and what may come out of it into a mail."""

import unicodedata
from collections.abc import Mapping
from typing import Any

from api.core.errors import BadTemplate, FieldError

#: Levels of lists and objects in the data.
MAX_DEPTH = 64
#: The longest line of a message (RFC 5322, 2.1.1); a longer subject is a mistake.
MAX_SUBJECT = 998
_SCALARS = frozenset({str, int, float, bool, type(None)})
#: Characters that turn the reading order around, so that a subject could show what it does not say (UAX 9).
_BIDI_CONTROLS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def _bad(sentence: str, pointer: str, code: str) -> BadTemplate:
    return BadTemplate(sentence, errors=[FieldError(pointer, sentence, code)])


def subject_line(text: str) -> str:
    """Return a subject as the one line that a header holds. Raises BadTemplate if it is empty or too long.

    Each run of white space, line ends of all kinds among it, becomes one space. Other control characters and the
    controls of writing direction are dropped, not refused: a stranger's odd name must not stop the notice about it.
    """
    if not text.isprintable():
        text = "".join(one for one in text if one.isspace() or not _is_control(one))
    line = " ".join(text.split())
    if not line:
        raise _bad("The subject is empty.", "/template", "empty_subject")
    if len(line) > MAX_SUBJECT:
        raise _bad(f"The subject is longer than {MAX_SUBJECT} characters.", "/data", "too_long")
    return storable(line)


def _is_control(character: str) -> bool:
    return unicodedata.category(character) == "Cc" or character in _BIDI_CONTROLS


def storable(text: str) -> str:
    """Return the text. Raises BadTemplate if a database or a mail could not hold it: NUL, or half a character."""
    try:
        if not text.isascii():
            text.encode()
        if "\0" not in text:
            return text
    except UnicodeEncodeError:
        pass
    raise _bad("The content holds characters that no mail can hold.", "/data", "bad_text")


def check_data(data: Mapping[str, object]) -> None:
    """Raise BadTemplate unless the data is what JSON can hold: templates may call methods of what they are given."""
    if not _is_plain(dict(data), MAX_DEPTH):
        raise _bad("The data may hold JSON values only, and not too deep.", "/data", "bad_data")


def _is_plain(value: Any, depth: int) -> bool:
    kind = type(value)
    if kind in _SCALARS:
        return True
    if depth == 0:
        return False
    if kind is dict:
        return all(
            type(key) is str and (type(one) in _SCALARS or _is_plain(one, depth - 1)) for key, one in value.items()
        )
    if kind is list or kind is tuple:
        return all(type(one) in _SCALARS or _is_plain(one, depth - 1) for one in value)
    return False
