"""Laggards: clients that send a request so slowly that they hold a thread and a connection for nothing.

A server's thread that reads a body blocks until it has come, and no timeout of the server ends that. So each worker
looks at its own connections, by what the kernel knows of them (Linux, TCP_INFO), and cuts those on which nothing was
answered for long and next to nothing has come. Who waits for an answer is answered sooner, who follows events is sent
a comment now and then, and an upload that is merely large keeps to the rate.
"""

import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

log = logging.getLogger(__name__)

#: Seconds after which a connection has to have been answered, or to have sent `RATE` octets a second meanwhile. Longer
#: than any answer takes: a long poll is the slowest.
PATIENCE = 75.0
RATE = 512
#: Seconds between two looks.
PAUSE = 5.0
#: Of Linux's `struct tcp_info`: milliseconds since data was sent, and octets received so far.
_SENT, _RECEIVED = struct.Struct("=44xI"), struct.Struct("=128xQ")
_SIZE = 136


class Laggards:
    """The connections to one port of this process, and since when each has come too slowly."""

    def __init__(self, port: int, *, patience: float = PATIENCE, rate: float = RATE) -> None:
        self._port = port
        self._patience = patience
        self._rate = rate
        #: By the client's address: when it was looked at first since it was last answered, and what had come by then.
        self._seen: dict[object, tuple[float, int]] = {}

    def watch(self) -> None:
        """Look again and again, for as long as the process lives."""
        while True:
            time.sleep(PAUSE)
            try:
                self.cut()
            except Exception:  # the next look may go better
                log.exception("slow connections cannot be looked for")

    def cut(self) -> int:
        """Cut the connections that are too slow; return how many."""
        now = time.monotonic()
        seen: dict[object, tuple[float, int]] = {}
        count = 0
        for name in os.listdir("/proc/self/fd"):
            with _borrowed(int(name)) as connection, suppress(OSError):
                if connection is None or not _is_to(connection, self._port):
                    continue
                client = connection.getpeername()
                info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE)
                [idle], [received] = _SENT.unpack_from(info), _RECEIVED.unpack_from(info)
                if idle / 1000 < self._patience:
                    continue
                since, before = self._seen.get(client, (now - idle / 1000, 0))
                # A window of its own each time, so that a fast beginning pays for no slow end.
                if now - since < self._patience:
                    seen[client] = since, before
                elif received - before >= self._rate * (now - since):
                    seen[client] = now, received
                else:
                    connection.shutdown(socket.SHUT_RDWR)
                    count += 1
        self._seen = seen
        if count:
            log.info("cut %s connections that sent too slowly", count)
        return count


def start(port: int) -> None:
    """Look for laggards in a thread of this process, where the kernel can tell."""
    if hasattr(socket, "TCP_INFO") and Path("/proc/self/fd").is_dir():
        threading.Thread(target=Laggards(port).watch, name="laggards", daemon=True).start()


@contextmanager
def _borrowed(descriptor: int) -> Iterator[socket.socket | None]:
    """Lend the socket of a descriptor, None where it is something else.

    Neither a duplicate nor anything else is closed: whoever closes any descriptor of a file gives up all of the
    process's locks on it (POSIX, fcntl), and SQLite's other processes would take the database for unused.
    """
    try:
        borrowed = socket.socket(fileno=descriptor)
    except OSError:
        yield None
        return
    try:
        yield borrowed
    finally:
        borrowed.detach()


def _is_to(connection: socket.socket, port: int) -> bool:
    if connection.family not in (socket.AF_INET, socket.AF_INET6) or connection.type != socket.SOCK_STREAM:
        return False
    try:
        return bool(connection.getsockname()[1] == port and connection.getpeername())
    except OSError:  # it listens, or is gone
        return False
