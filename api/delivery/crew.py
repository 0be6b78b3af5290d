"""The crew: a bounded number of threads, each with a connection of its own, that send what the dispatcher claimed."""

import logging
import queue
import threading
import time
from collections.abc import Callable

from flask import Flask

from api.core import transports
from api.core.claim import Claim, Result
from api.delivery.attempt import attempt
from api.delivery.circuit import Circuit
from api.delivery.sender import Sender
from api.delivery.smtp import Mail

log = logging.getLogger(__name__)

#: Seconds after which an idle thread looks whether its kept connection should go.
IDLE_SECONDS = 5.0


class Crew:
    """Sender threads over one queue; claims that were not begun can be had back."""

    def __init__(self, app: Flask, mail: Mail, *, size: int, circuit: Circuit, wake: Callable[[], None]) -> None:
        self._app = app
        self._circuit = circuit
        self._wake = wake
        self._todo: queue.SimpleQueue[Claim | str | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._open = 0
        self._returned: list[Claim] = []
        self._abandon = threading.Event()
        self._senders = [Sender(mail) for _ in range(size)]
        # Daemons: the dispatcher's own thread keeps the process until they are done, or until grace is over.
        self._threads = [
            threading.Thread(target=self._work, args=(sender,), name=f"sender-{number}", daemon=True)
            for number, sender in enumerate(self._senders)
        ]
        for thread in self._threads:
            thread.start()

    def open(self) -> int:
        """Return how many claims are queued or under way."""
        with self._lock:
            return self._open

    def take(self, claims: list[Claim]) -> None:
        """Queue claims for sending."""
        with self._lock:
            self._open += len(claims)
        for claim in claims:
            self._todo.put(claim)

    def probe(self) -> None:
        """Have the relay probed by the next free thread."""
        self._todo.put("probe")

    def returned(self) -> list[Claim]:
        """Return, once, the claims that were given back because the relay is not up."""
        with self._lock:
            back, self._returned = self._returned, []
            return back

    def stop(self, *, grace: float) -> list[Claim]:
        """End: give back what was not begun, wait `grace` seconds for the rest, then cut its connections."""
        unbegun: list[Claim] = self.returned()
        try:
            while True:
                item = self._todo.get_nowait()
                if isinstance(item, Claim):
                    unbegun.append(item)
        except queue.Empty:
            pass
        for _ in self._threads:
            self._todo.put(None)
        self._join(grace)
        if any(thread.is_alive() for thread in self._threads):
            self._abandon.set()
            for sender in self._senders:
                sender.abort()
            self._join(5.0)
        return unbegun + self.returned()

    def _join(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self, sender: Sender) -> None:
        while True:
            try:
                item = self._todo.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                sender.close_if_idle()
                continue
            if item is None:
                sender.close()
                return
            try:
                self._do(sender, item)
            finally:
                self._wake()

    def _do(self, sender: Sender, item: Claim | str) -> None:
        if isinstance(item, str):
            self._circuit.probed(sender.probe(), now=time.monotonic())
            return
        try:
            if item.transport == transports.RELAY and not self._circuit.is_up():
                with self._lock:
                    self._returned.append(item)
                return
            result: Result | None = attempt(self._app, sender, item, abandon=self._abandon)
            if result is not None and item.transport == transports.RELAY:
                self._circuit.attempted(result, now=time.monotonic())
        finally:
            with self._lock:
                self._open -= 1
