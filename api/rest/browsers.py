"""Browser keys at the door: where from and what for; and which origins' pages may read an answer."""

from collections.abc import Callable, Collection

from flask import g, request

from api.core import keys
from api.core.errors import NotAllowed
from api.core.models import ApiKey
from api.rest import throttle

#: What a browser key may be used for. What exactly it may send, `core.browsers` says.
ENDPOINTS = frozenset({"users.register", "notifications.send"})


def check(key: ApiKey) -> None:
    """Raise NotAllowed if a browser key comes from elsewhere or for something else, TooMany if it comes too often."""
    if request.headers.get("Origin") not in (key.origins or ()):
        throttle.note_stranger()  # or anybody could use up what the key may do
        raise NotAllowed("This key is for pages of other origins.")
    if request.endpoint not in ENDPOINTS:
        raise NotAllowed("A browser key registers users and sends its templates, nothing else.")
    throttle.note_browser(key)


def readable(configured: Collection[str]) -> Callable[[], bool]:
    """Return what tells whether the page that a request comes from may read the answer.

    With a browser key: one of the key's own origins. With another key: a configured one. A preflight brings no key, and
    neither does who follows a notification by its token: both may be of either kind.
    """
    listed = frozenset(origin.casefold() for origin in configured)

    def is_readable() -> bool:
        origin = request.headers.get("Origin", "")
        key: ApiKey | None = g.get("key")
        if key is not None and key.is_browser:
            return origin in (key.origins or ())
        return origin.casefold() in listed or ("Authorization" not in request.headers and origin in _browsers())

    return is_readable


def any_preflight(configured: Collection[str]) -> Callable[[], bool]:
    """Return what tells whether preflights are answered at all."""
    return lambda: bool(configured) or bool(_browsers())


def _browsers() -> frozenset[str]:
    return keys.browser_origins()
