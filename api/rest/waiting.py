"""Long polls: `Prefer: wait=N` (RFC 7240) holds an answer back until it is another one than the caller knows."""

import functools
import re
import time
from collections.abc import Callable
from uuid import UUID

from flask import Response, g, request

from api.core import watch
from api.core.errors import Unavailable
from api.core.watch import Seat

#: Seconds that anybody may wait; who wishes for more gets these.
LONGEST = 60

#: One preference (RFC 7240 §2), as far as the comma that ends it: name, value bare or quoted, parameters.
_WORD = r'(?:[!#$%&\'*+.^_`|~0-9A-Za-z-]+|"(?:[^"\\]|\\.)*")'
_PREFERENCE = re.compile(
    rf"[ \t]*(?P<name>[!#$%&\'*+.^_`|~0-9A-Za-z-]+)(?:[ \t]*=[ \t]*(?P<value>{_WORD})?)?"
    rf"(?P<parameters>(?:[ \t]*;[ \t]*(?:{_WORD}(?:[ \t]*=[ \t]*{_WORD}?)?)?)*)[ \t]*"
)
#: Commas that stand in no quoted string; an open quote goes on to the end.
_PARTS = re.compile(r'(?:"(?:[^"\\]|\\.)*(?:"|\Z)|[^",])+')
_SECONDS = re.compile(r'"?(?P<number>[0-9]+)"?')

View = Callable[[UUID], Response]


def preferred(header: str | None) -> int | None:
    """Return the seconds that a Prefer header asks to wait, `LONGEST` at most; None without such a wish.

    Of several wishes the first counts, and what is malformed is ignored (RFC 7240 §2).
    """
    for part in _PARTS.findall(header or ""):
        preference = _PREFERENCE.fullmatch(part)
        if preference is None or preference["name"].lower() != "wait":
            continue
        seconds = _SECONDS.fullmatch(preference["value"] or "")
        if seconds is None:
            return None
        number = seconds["number"].lstrip("0") or "0"
        return int(number) if len(number) <= len(str(LONGEST)) and int(number) <= LONGEST else LONGEST
    return None


def waits(view: View) -> View:
    """Let callers wait for a view's answer about a notification to change; it must be given with an ETag.

    What is finished, or differs from what If-None-Match names, is answered at once; so is everything while too many
    wait, without Preference-Applied.
    """

    @functools.wraps(view)
    def wrapper(notification_id: UUID) -> Response:
        seconds = preferred(request.headers.get("Prefer"))
        response = view(notification_id) if seconds is None else _waited(view, notification_id, seconds)
        response.vary.add("Prefer")
        return response

    return wrapper


def _waited(view: View, notification_id: UUID, seconds: int) -> Response:
    try:
        seat = watch.current().seat(notification_id, key=g.key)
    except Unavailable:
        return view(notification_id)
    try:
        response = _changed(view, notification_id, seat, time.monotonic() + seconds)
    finally:
        seat.leave()
    response.headers["Preference-Applied"] = f"wait={seconds}"
    return response


def _changed(view: View, notification_id: UUID, seat: Seat, deadline: float) -> Response:
    """Return the view's answer as soon as it is another one than the caller knows, or at the deadline."""
    known: Callable[[str], bool] | None = None
    if request.if_none_match and not request.if_none_match.star_tag:
        known = request.if_none_match.contains_weak
    while True:
        mark = watch.mark(notification_id)
        response = view(notification_id)
        tag = response.get_etag()[0] or ""
        known = known or tag.__eq__
        left = deadline - time.monotonic()
        if mark.is_finished or not known(tag) or left <= 0 or seat.is_over:
            return response
        watch.pause()
        if not seat.wait(notification_id, mark, left):
            return response
