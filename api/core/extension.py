"""The parts of the running app that `create_app` has put together, by their names."""

from collections.abc import Callable
from typing import Any

from flask import Flask, current_app

#: One step to the app itself: each attribute of the proxy takes several.
_app: Callable[[], Flask] = current_app._get_current_object  # type: ignore[attr-defined]


def every() -> dict[str, Any]:
    """Return all parts of the running app."""
    return _app().extensions


def of(name: str) -> Any:
    """Return a part of the running app. Raises KeyError for one that is not there."""
    return _app().extensions[name]


def find(name: str) -> Any:
    """Return a part of the running app, None for one that is not there."""
    return _app().extensions.get(name)
