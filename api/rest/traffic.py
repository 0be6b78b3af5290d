"""How many requests each route has answered, and how: counted in memory, and stored now and then for all processes."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

from flask import Flask, Response, current_app, request

from api.core import figures
from api.core.db import transact
from api.core.errors import Unavailable

#: Seconds between two times that what was counted is stored.
STORE_SECONDS = 5.0
#: Other methods are counted as one: a client may invent any number of them.
_METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"})
_LONGEST_ROUTE = 200


class Traffic:
    """What this process has counted and not stored yet; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counted: Counter[str] = Counter()
        self._stored_at = time.monotonic()

    def count(self, name: str) -> bool:
        """Count a request; tell whether it is time to store."""
        with self._lock:
            self._counted[name] += 1
            return time.monotonic() - self._stored_at >= STORE_SECONDS

    def store(self) -> None:
        """Store what was counted. What cannot be stored now is kept for the next time."""
        with self._lock:
            counted, self._counted = self._counted, Counter()
            self._stored_at = time.monotonic()
        try:
            if counted:
                transact(partial(figures.add, counts=counted), durable=False)
        except Unavailable:
            with self._lock:
                self._counted.update(counted)


def configure(app: Flask) -> None:
    """Count what this app answers."""
    traffic = Traffic()
    app.extensions["postroom.traffic"] = traffic

    def count(response: Response) -> Response:
        rule = request.url_rule.rule if request.url_rule is not None else "-"
        method = request.method if request.method in _METHODS else "-"
        if traffic.count(name(method, rule, response.status_code)):
            response.call_on_close(storing(app))  # the client has its answer by then
        return response

    app.after_request(count)


def name(method: str, rule: str, status: int) -> str:
    """Return what an answer is counted as."""
    return f"{figures.REQUESTS}{method} {rule[:_LONGEST_ROUTE]} {status}"


def of(app: Flask) -> Traffic:
    """Return what the app counts by."""
    traffic: Traffic = app.extensions["postroom.traffic"]
    return traffic


def storing(app: Flask) -> Callable[[], None]:
    """Return what stores, outside of any context, what the app has counted."""
    return partial(_store, app, of(app))


def store() -> None:
    """Store what this process has counted."""
    current_app.extensions["postroom.traffic"].store()


def _store(app: Flask, traffic: Traffic) -> None:
    with app.app_context():
        traffic.store()
