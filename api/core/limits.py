"""How large and how long one rendering may grow, and the operations that would grow it beyond that.

The numbers in an expression may come from the data of a request, so each operation that multiplies is checked before
it is carried out. An author can still write a slow template; he cannot write one that never ends or eats the memory.
"""

import operator
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any

from jinja2 import TemplateRuntimeError

#: Characters in one part, and in any value on the way to it.
MAX_CHARACTERS = 1024 * 1024
#: Entries in a list that an expression makes.
MAX_ENTRIES = 100_000
#: Characters that one value may be padded to.
MAX_WIDTH = 10_000
#: Bits in an integer: some 1,200 digits.
MAX_BITS = 4096
#: Seconds of this thread's own time, so that a machine that stalls spoils no mail.
MAX_SECONDS = 1.0
_TICKS_BETWEEN_LOOKS = 64

_CONVERSION = re.compile(r"%(?:%|(?:\([^()]*\))?[-#0 +]*(?P<width>\*|\d*)(?:\.(?P<precision>\*|\d*))?)")
_LONG_NUMBER = re.compile(r"\d{4}")


class LimitExceeded(TemplateRuntimeError):
    """The rendering would become too large or take too long."""


class Budget:
    """The time one rendering has left, looked at every few loop turns and calls."""

    __slots__ = ("_end", "_ticks")

    def __init__(self) -> None:
        self._ticks = 0
        self._end = time.thread_time() + MAX_SECONDS

    def tick(self) -> None:
        """Count one step. Raises LimitExceeded when the time is up."""
        self._ticks += 1
        if self._ticks % _TICKS_BETWEEN_LOOKS == 0 and time.thread_time() > self._end:
            raise LimitExceeded("it takes too long")


#: The budget of the rendering that this thread is in; none while templates are compiled.
budget: ContextVar[Budget | None] = ContextVar("budget", default=None)


def tick() -> None:
    """Count one step of the current rendering. Raises LimitExceeded when its time is up."""
    current = budget.get()
    if current is not None:
        current.tick()


def ticking(values: Iterable[Any]) -> Iterator[Any]:
    """Yield the values, counting each as a step."""
    for value in values:
        tick()
        yield value


def check_number(value: object, limit: int = MAX_WIDTH) -> None:
    """Raise LimitExceeded if the value is a number whose size is beyond the limit."""
    if isinstance(value, int | float) and not -limit <= value <= limit:
        raise LimitExceeded("a number is too large")


def check_size(characters: int, limit: int = MAX_CHARACTERS) -> None:
    """Raise LimitExceeded if a value of this size would be too large."""
    if characters > limit:
        raise LimitExceeded("it becomes too large")


def join(pieces: Iterable[str]) -> str:
    """Return the pieces as one string. Raises LimitExceeded before it is made, if it would be too large."""
    gathered: list[str] = []
    size = 0
    for piece in pieces:
        gathered.append(piece)
        size += len(piece)
        if size > MAX_CHARACTERS:
            raise LimitExceeded("it becomes too large")
    return "".join(gathered)


def check_replace(text: str, old: str, new: str) -> None:
    """Raise LimitExceeded if replacing all of `old` by `new` would make the text too large."""
    check_size(len(text) + text.count(old) * max(0, len(new) - len(old)))


def check_format_spec(spec: str) -> None:
    """Raise LimitExceeded if a `str.format` field asks for a width or precision of four digits or more."""
    if _LONG_NUMBER.search(spec):
        raise LimitExceeded("a width is too large")


def check_printf(template: str, values: object) -> None:
    """Raise LimitExceeded if a printf-style template asks for a width of four digits, or one taken from the values."""
    count = 0
    for found in _CONVERSION.finditer(template):
        count += 1
        widths = (found["width"] or "", found["precision"] or "")
        # A key with parentheses inside is legal in Python; what stands behind it can't be seen from here.
        if "*" in widths or max(map(len, widths)) > 3 or template[found.end() : found.end() + 1] == "(":
            raise LimitExceeded("a width is too large")
    if isinstance(values, dict):  # one value may be used by many conversions
        longest = max((len(value) for value in values.values() if isinstance(value, str)), default=0)
        check_size(len(template) + count * longest)
    else:
        given = values if isinstance(values, tuple) else (values,)
        check_size(len(template) + sum(len(value) for value in given if isinstance(value, str)))


def _add(left: Any, right: Any) -> Any:
    if isinstance(left, str) and isinstance(right, str):
        check_size(len(left) + len(right))
    elif isinstance(left, list | tuple) and isinstance(right, list | tuple):
        check_size(len(left) + len(right), MAX_ENTRIES)
    return left + right


def _multiply(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int):
        check_size(left.bit_length() + right.bit_length(), MAX_BITS)
    for one, times in ((left, right), (right, left)):
        if isinstance(times, int):
            if isinstance(one, str):
                check_size(len(one) * times)
            elif isinstance(one, list | tuple):
                check_size(len(one) * times, MAX_ENTRIES)
    return left * right


def _power(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int) and right > 0:
        check_size(left.bit_length() * right, MAX_BITS)
    return left**right


def _modulo(left: Any, right: Any) -> Any:
    if isinstance(left, str):
        check_printf(left, right)
    return operator.mod(left, right)


#: The binary operators that can grow a value.
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {"+": _add, "*": _multiply, "**": _power, "%": _modulo}
