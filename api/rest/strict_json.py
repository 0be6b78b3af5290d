"""JSON as RFC 8259 and I-JSON (RFC 7493) have it: what parsers disagree about is refused, not guessed."""

import json
import math
from collections.abc import Iterable
from typing import Any, NoReturn

#: Levels of lists and objects.
MAX_DEPTH = 32
MAX_DIGITS = 19


class NotJson(ValueError):
    """A body that cannot be read; the text is a sentence for the caller."""


def parse(body: bytes) -> Any:
    """Return the value of a body in UTF-8. Raises NotJson, for any bytes that are not one JSON value."""
    if not body.strip():
        raise NotJson("The body is empty.")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotJson(f"The body is not UTF-8: byte {error.start} is wrong.") from None
    if text[0] == "\ufeff":
        raise NotJson("The body begins with a byte order mark, which JSON may not.")
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise NotJson(f"The body is not JSON: line {error.lineno}, column {error.colno} is wrong.") from None
    except RecursionError:
        _too_deep()
    # Most bodies have too few brackets to be deep, and need no walk.
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_depth(value)
    return value


def _check_depth(value: Any) -> None:
    level = _containers([value])
    for _ in range(MAX_DEPTH):
        level = _containers(inner for outer in level for inner in _children(outer))
        if not level:
            return
    _too_deep()


def _containers(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if isinstance(value, dict | list)]


def _children(container: Any) -> Iterable[Any]:
    return container.values() if isinstance(container, dict) else container


def _too_deep() -> NoReturn:
    raise NotJson(f"The body is nested deeper than {MAX_DEPTH} levels.") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise NotJson("An object of the body holds a name twice.")
    return found


def _integer(digits: str) -> int:
    if len(digits) - digits.startswith("-") > MAX_DIGITS:
        raise NotJson(f"The body holds an integer of more than {MAX_DIGITS} digits.")
    return int(digits)


def _number(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise NotJson("The body holds a number that is too large.")
    return number


def _constant(name: str) -> NoReturn:
    raise NotJson(f"The body holds {name}, which JSON does not know.")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_number, parse_constant=_constant, strict=True
)
