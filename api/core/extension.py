"""The parts of the running app that `create_app` has put together, by their names.

The running app is Flask's current one, or the one that this thread has been told to serve: a context of Flask's costs
as much as twenty of these look-ups.
"""

from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any

from flask import Flask, current_app

Parts = dict[str, Any]

#: One step to the app itself: each attribute of the proxy takes several.
_app: Callable[[], Flask] = current_app._get_current_object  # type: ignore[attr-defined]
_served: ContextVar[Parts | None] = ContextVar("postroom.served", default=None)


def every() -> Parts:
    """Return all parts of the running app."""
    return _served.get() or _app().extensions


def of(name: str) -> Any:
    """Return a part of the running app. Raises KeyError for one that is not there."""
    return (_served.get() or _app().extensions)[name]


def find(name: str) -> Any:
    """Return a part of the running app, None for one that is not there."""
    return (_served.get() or _app().extensions).get(name)


def serve(app: Flask) -> Token[Parts | None]:
    """Make it the running app, until `end`. There is no session of a context's then; `db.reading` gives one."""
    return _served.set(app.extensions)


def end(token: Token[Parts | None]) -> None:
    """Serve what was served before."""
    _served.reset(token)
