"""Hearing of SIGTERM beside whoever handles it: who waits for something has to be told that the process ends."""

import contextlib
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType


def heed(drain: Callable[[], None]) -> None:
    """Call `drain`, in a thread of its own, when SIGTERM comes; what else is to happen then still happens.

    Servers put handlers of their own in the place of each other's, before or after the app is loaded, and then wait
    for every answer under way. Does nothing outside of the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    if before == -1:
        threading.Thread(target=_listen, args=(reading, writing, drain), name="sigterm", daemon=True).start()
        return
    # The server needs it for itself, gunicorn for one; then its handler is set already.
    signal.set_wakeup_fd(before, warn_on_full_buffer=False)
    reading.close()
    writing.close()
    _chain(drain)


def _listen(reading: socket.socket, writing: socket.socket, drain: Callable[[], None]) -> None:
    """Read what Python notes of every signal that has a handler, whichever that is by then."""
    with contextlib.closing(writing):
        while came := reading.recv(1):
            if came[0] == signal.SIGTERM:
                drain()


def _chain(drain: Callable[[], None]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    if not callable(before):
        return

    def handle(number: int, frame: FrameType | None) -> None:
        # The main thread may hold the very lock that draining takes.
        threading.Thread(target=drain, name="drain", daemon=True).start()
        before(number, frame)

    signal.signal(signal.SIGTERM, handle)
