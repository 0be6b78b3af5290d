"""The background thread of a server process: a supervised dispatcher that ends when the process does."""

import logging
import os
import threading

from flask import Flask

from api.core.db import reopen
from api.delivery.dispatch import Dispatcher

log = logging.getLogger(__name__)

#: Seconds before a crashed dispatcher is started again: at first, and at most.
RESTART_FIRST, RESTART_LONGEST = 1.0, 60.0


class DispatcherThread:
    """Keeps one dispatcher of this process alive; it is restarted when it raises, and drained when the process ends.

    The thread is no daemon, so that the interpreter waits for the mail under way; and it watches the main
    thread, because a server may run neither `atexit` nor a signal handler of ours in its workers.
    """

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._stop = threading.Event()
        self._dispatcher = Dispatcher(app)
        self._crash: str | None = None
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=False)

    @property
    def alive(self) -> bool:
        """Tell whether a dispatcher runs."""
        return self._thread.is_alive() and self._crash is None

    @property
    def trouble(self) -> str | None:
        """Return a sentence while it cannot do its work."""
        return self._crash or self._dispatcher.trouble

    def start(self) -> None:
        """Start dispatching."""
        self._thread.start()

    def nudge(self) -> None:
        """Say that something may be due."""
        self._dispatcher.nudge()

    def stop(self) -> None:
        """End after the transactions under way, and wait for that."""
        self._stop.set()
        self.nudge()
        self._thread.join()

    def _stopping(self) -> bool:
        return self._stop.is_set() or not threading.main_thread().is_alive()

    def _run(self) -> None:
        pause = RESTART_FIRST
        while not self._stopping():
            try:
                self._dispatcher.run(self._stopping)
            except Exception as error:
                self._crash = f"The dispatcher crashed ({type(error).__name__}) and is being restarted."
                log.exception("dispatcher crashed; next start in %s s", pause)
                self._wait(pause)
                pause = min(pause * 2, RESTART_LONGEST)
                self._dispatcher = Dispatcher(self._app)
                self._crash = None

    def _wait(self, seconds: float) -> None:
        for _ in range(int(seconds / 0.25)):
            if self._stopping():
                return
            self._stop.wait(0.25)


def start(app: Flask) -> DispatcherThread:
    """Start the dispatcher of this process, and of each process that is forked from it."""
    os.register_at_fork(after_in_child=lambda: _start_in_child(app))
    return _start(app)


def _start(app: Flask) -> DispatcherThread:
    thread = DispatcherThread(app)
    app.extensions["postroom.dispatcher"] = thread
    app.extensions["postroom.nudge"] = thread.nudge
    thread.start()
    return thread


def _start_in_child(app: Flask) -> None:
    # A thread does not survive a fork: a server that forks after loading the app would have none in its workers.
    reopen(app)
    _start(app)
