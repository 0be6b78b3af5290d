"""The filters of mail templates: Jinja's own, kept within bounds, and `safe_url`."""

import re
from collections.abc import Callable, Iterable
from typing import Any

from jinja2 import Environment, Undefined, pass_environment, pass_eval_context
from jinja2 import filters as jinja
from jinja2.nodes import EvalContext
from jinja2.runtime import markup_join, str_join
from markupsafe import Markup, soft_str

from api.core import limits

_MAX_PRECISION = 100
_MAX_INDENT = 16
#: Characters given to what takes the square of their number in time.
_MAX_SLOW = 100_000

#: What browsers drop wherever it stands in a URL, and what they strip from its ends (WHATWG URL, 4.4).
_DROPPED = str.maketrans("", "", "\t\n\r")
_STRIPPED = "".join(map(chr, range(0x21)))
_SAFE_URL = re.compile(r"(?:https?://[^/?#\\]|mailto:.)", re.IGNORECASE)
_QUOTED = frozenset("\"'<>`\\ ")


def safe_url(value: object) -> str:
    """Return a URL fit for an href: an http, https or mailto one as it is, `#` for everything else.

    What could end an attribute is percent-encoded, so the result is safe even where the quotes were forgotten.
    """
    text = value.unescape() if isinstance(value, Markup) else str(value)
    text = text.translate(_DROPPED).strip(_STRIPPED)
    if not _SAFE_URL.match(text):
        return "#"
    try:
        return "".join(_percent_encoded(one) if one in _QUOTED or not one.isprintable() else one for one in text)
    except UnicodeEncodeError:  # a lone surrogate
        return "#"


def _percent_encoded(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode())


@pass_eval_context
def concat(eval_ctx: EvalContext, values: Iterable[Any]) -> str:
    """Do what the `~` operator does."""
    strings = [soft_str(value) if not hasattr(value, "__html__") else value for value in values]
    limits.check_size(sum(map(len, strings)))
    return markup_join(strings) if eval_ctx.autoescape else str_join(strings)


def items(value: Any) -> Any:
    """Jinja's `items`, but strict: it would take what is missing for empty."""
    return value.items() if isinstance(value, Undefined) else jinja.do_items(value)


@pass_eval_context
def replace(eval_ctx: EvalContext, s: str, old: str, new: str, count: int | None = None) -> str:
    """Jinja's `replace`, within bounds."""
    limits.check_replace(soft_str(s), soft_str(old), soft_str(new))
    return jinja.do_replace(eval_ctx, s, old, new, count)


@pass_eval_context
def join(eval_ctx: EvalContext, value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
    """Jinja's `join`, within bounds."""
    values = list(limits.ticking(value))
    if attribute is not None:
        values = list(map(jinja.make_attrgetter(eval_ctx.environment, attribute), values))
    values = [one if isinstance(one, str) else soft_str(one) for one in values]
    limits.check_size(sum(map(len, values)) + len(values) * len(soft_str(d)))
    return jinja.sync_do_join(eval_ctx, values, d)


def center(value: str, width: int = 80) -> str:
    """Jinja's `center`, within bounds."""
    limits.check_number(width)
    return jinja.do_center(value, width)


def indent(s: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    """Jinja's `indent`, within bounds."""
    limits.check_number(width)
    columns = width if isinstance(width, int) else len(width)
    # Every kind of line end counts, and there are never more of them than characters that are not printable.
    lines = 1 + sum(not one.isprintable() for one in soft_str(s))
    limits.check_size(len(s) + lines * max(0, columns))
    return jinja.do_indent(s, width, first, blank)


def striptags(value: Any) -> str:
    """Jinja's `striptags`, within bounds."""
    limits.check_size(len(value), _MAX_SLOW)
    return jinja.do_striptags(value)


@pass_environment
def wordwrap(environment: Environment, s: str, width: int = 79, *args: Any, **kwargs: Any) -> str:
    """Jinja's `wordwrap`, within bounds."""
    limits.check_size(len(s), _MAX_SLOW)
    return jinja.do_wordwrap(environment, s, width, *args, **kwargs)


def format_(value: str, *args: Any, **kwargs: Any) -> str:
    """Jinja's `format`, within bounds."""
    limits.check_printf(soft_str(value), kwargs or args)
    return jinja.do_format(value, *args, **kwargs)


def round_(value: float, precision: int = 0, method: Any = "common") -> float:
    """Jinja's `round`, within bounds."""
    limits.check_number(precision, _MAX_PRECISION)
    return jinja.do_round(value, precision, method)


def batch(value: Iterable[Any], linecount: int, fill_with: Any = None) -> Iterable[list[Any]]:
    """Jinja's `batch`, within bounds."""
    limits.check_number(linecount)
    return jinja.do_batch(value, linecount, fill_with)


def slice_(value: Any, slices: int, fill_with: Any = None) -> Iterable[list[Any]]:
    """Jinja's `slice`, within bounds."""
    limits.check_number(slices)
    return jinja.sync_do_slice(value, slices, fill_with)


@pass_eval_context
def tojson(eval_ctx: EvalContext, value: Any, indent: int | None = None) -> Markup:
    """Jinja's `tojson`, within bounds."""
    limits.check_number(indent, _MAX_INDENT)
    return jinja.do_tojson(eval_ctx, value, indent)


FILTERS: dict[str, Callable[..., Any]] = {
    "batch": batch,
    "center": center,
    "format": format_,
    "indent": indent,
    "items": items,
    "join": join,
    "replace": replace,
    "round": round_,
    "safe_url": safe_url,
    "slice": slice_,
    "striptags": striptags,
    "tojson": tojson,
    "wordwrap": wordwrap,
}
#: For the compiler alone: what loops and `~` are turned into.
INNER_FILTERS: dict[str, Callable[..., Any]] = {"_concat": concat, "_ticking": limits.ticking}
