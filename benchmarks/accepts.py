"""Accepting mail at a steady rate, and how long each accept took."""

import threading
import time

from flask import Flask

from api.core import keys, notifications
from api.core.claim import Address
from api.core.models import ApiKey
from benchmarks.letters import letter


class Accepts(threading.Thread):
    """Accepts `rate` mails per second, each on disk when it counts, until `stop` or `most` of them."""

    def __init__(self, app: Flask, *, rate: float, most: int) -> None:
        super().__init__(name="accepts")
        self._app = app
        self._rate = rate
        self._most = most
        self._stopping = threading.Event()
        self.times: list[float] = []
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            with self._app.app_context():
                self._accept(keys.operator())
        except Exception as error:  # noqa: BLE001 -- a thread's would be lost
            self.error = error

    def _accept(self, key: ApiKey) -> None:
        begun = time.monotonic()
        for number in range(self._most):
            if self._stopping.wait(max(0.0, begun + number / self._rate - time.monotonic())):
                return
            one = letter(number)
            began = time.perf_counter()
            notifications.accept(
                key=key, to=[Address(one.recipient)], subject=one.subject, text=one.text, html=one.html
            )
            self.times.append(time.perf_counter() - began)

    def stop(self) -> list[float]:
        """Return the seconds that each accept took. Raises what stopped it."""
        self._stopping.set()
        self.join()
        if self.error is not None:
            raise self.error
        return self.times
