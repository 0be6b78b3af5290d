"""The parts of the running app that `create_app` has put together, by their names."""

from typing import Any

from flask import Flask, current_app


def every() -> dict[str, Any]:
    """Return all parts of the running app."""
    # One step to the app itself: each attribute of the proxy takes several.
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    return app.extensions


def of(name: str) -> Any:
    """Return a part of the running app. Raises KeyError for one that is not there."""
    return every()[name]


def find(name: str) -> Any:
    """Return a part of the running app, None for one that is not there."""
    return every().get(name)
