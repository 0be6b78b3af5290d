"""A dispatcher on call: it works as long as somebody keeps asking for it, and keeps its connections in between."""

import logging
import threading
import time
from collections.abc import Callable

from flask import Flask

from api.core.dispatchers import Drive
from api.delivery.dispatch import Dispatcher

log = logging.getLogger(__name__)

#: Seconds that a dispatcher stays after it was last asked for, if there is nothing to do.
LINGER_SECONDS = 30.0


class Shift:
    """The one dispatcher of a process, in a thread of its own; thread-safe.

    It signs off when nobody has asked for it for a while, so that its signs of life never speak of a drive that is not
    there any more. `ending` tells that the process is to end: then mail under way is ended, and the rest given back.
    """

    def __init__(self, app: Flask, *, drive: Drive, ending: Callable[[], bool]) -> None:
        self._app = app
        self._drive = drive
        self._asked_to_end = ending
        self._stopped = False
        self._lock = threading.Lock()
        self._joined = threading.Lock()
        self._idle = threading.Event()
        self._until = 0.0
        self._dispatcher: Dispatcher | None = None
        self._thread: threading.Thread | None = None

    def work(self, seconds: float) -> None:
        """Have what is due sent, and return when nothing is, or after `seconds`: it goes on without being waited for.

        Somebody else's wait is enough: whoever comes meanwhile returns at once.
        """
        if not self._joined.acquire(blocking=False):
            self._renew()
            return
        try:
            self._idle.clear()
            self._renew()
            self._idle.wait(seconds)
        finally:
            self._joined.release()

    def stop(self) -> None:
        """End after the transactions under way, and wait for that."""
        with self._lock:
            self._stopped = True
            thread, dispatcher = self._thread, self._dispatcher
        if thread is not None and dispatcher is not None:
            dispatcher.nudge()
            thread.join()

    def _renew(self) -> None:
        """Let the shift last, and begin one where there is none."""
        with self._lock:
            self._until = time.monotonic() + LINGER_SECONDS
            if self._ending():
                self._idle.set()
                return
            if self._dispatcher is None:
                self._dispatcher = Dispatcher(self._app, drive=self._drive)
                # No daemon: a process that ends in good order waits for the mail under way.
                self._thread = threading.Thread(target=self._run, args=(self._dispatcher,), name="dispatcher")
                self._thread.start()
            self._dispatcher.nudge()

    def _run(self, dispatcher: Dispatcher) -> None:
        try:
            dispatcher.run_until(self._ends)
        except Exception:
            log.exception("the dispatcher crashed; the next call starts another one")
        finally:
            with self._lock:
                self._dispatcher = None
            self._idle.set()

    def _ends(self, idle: bool) -> bool:
        """Tell the dispatcher whether to end, after each of its turns."""
        if idle:
            self._idle.set()
        return self._ending() or (idle and time.monotonic() > self._until)

    def _ending(self) -> bool:
        return self._stopped or self._asked_to_end() or not threading.main_thread().is_alive()
