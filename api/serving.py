"""The HTTP server: granian, its worker processes, and how all of them end."""

import logging
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

from flask import Flask
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels
from granian.server import Server
from granian.server.common import AbstractServer

from api import garbage, laggards, sigterm

#: Open connections of one worker, idle ones included; below the 1024 files that a process may usually have open.
CONNECTIONS = 768
#: Requests that one worker has in hand at once, in threads that are started as they are needed and end when they are
#: not. A client that sends its body slowly, waits for a change or follows events holds one all the while; with one for
#: each connection no number of them keeps the others from being answered.
THREADS = CONNECTIONS
#: Seconds that a worker has beyond the grace time, to cut connections and to sign off, before it is killed.
MARGIN = 10.0
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

Load = Callable[[], Flask]


class Refused(Exception):
    """The server cannot start: one sentence that says why."""


def listener(host: str, port: int, *, purpose: str) -> socket.socket:
    """Return a socket bound to a port that nobody listens on; 0 takes a free one. Raises Refused."""
    try:
        [(family, kind, protocol, _, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise Refused(f"{host} is no address of this machine ({error.strerror}).") from None
    try:
        # What an ended server left in TIME_WAIT is no reason to refuse; a living one still is.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen()
    except OSError as error:
        bound.close()
        raise Refused(f"Port {port} on {host} cannot be used for {purpose}: {error.strerror}.") from None
    return bound


def free_address(host: str, port: int) -> tuple[str, int]:
    """Return the numeric address to serve on, where nobody listens yet. Raises Refused.

    Granian would not notice: it shares a port with whoever shares it.
    """
    with listener(host, port, purpose="HTTP") as probe:
        address, number = probe.getsockname()[:2]
    return address, number


def serve(
    load: Load, *, host: str, port: int, workers: int, grace: float, ready: Callable[[], None] | None = None
) -> None:
    """Serve until SIGTERM or SIGINT, then let the workers drain for `grace` seconds. Raises Refused.

    `load` makes the app in each worker, and starts there what lives as long as the worker; both functions must be
    picklable. `ready` is called in the worker once it can be reached. A worker that dies is replaced.
    """
    configure_logging()
    server = _server(host, port, workers, kill_after=math.ceil(grace + MARGIN))
    # A terminal that is closed ends what runs in it, but for `nohup`; granian would start its workers anew.
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    on_hangup = signal.SIG_IGN if ignored else server.signal_handler_interrupt
    server.on_startup(lambda: signal.signal(signal.SIGHUP, on_hangup))
    start = partial(_start_worker, load, os.getpid(), port, grace, ready and partial(_when_ready, host, port, ready))
    garbage.settle()
    try:
        server.serve(target_loader=start, wrap_loader=False)
    except SystemExit:
        raise Refused("The server has ended: its workers do not stay alive.") from None


def configure_logging() -> None:
    """Send warnings to stderr, and what Postroom itself has to say."""
    logging.basicConfig(format=_FORMAT, level=logging.WARNING)
    logging.getLogger("api").setLevel(logging.INFO)


def _server(host: str, port: int, workers: int, *, kill_after: int) -> AbstractServer[Any]:
    server = Server(
        "postroom",
        address=host,
        port=port,
        interface=Interfaces.WSGI,
        http=HTTPModes.http1,
        workers=workers,
        blocking_threads=THREADS,
        backpressure=CONNECTIONS,
        respawn_failed_workers=True,
        workers_kill_timeout=kill_after,
        log_level=LogLevels.warning,
        log_dictconfig={"loggers": {"_granian": {"propagate": True}}},
    )
    logging.getLogger("_granian").addFilter(_is_news)
    return server


def _start_worker(load: Load, parent: int, port: int, grace: float, announce: Callable[[], None] | None) -> Flask:
    # Ctrl-C reaches every process of the terminal: the parent alone acts on it, and ends the workers in order.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    # Until granian has set its own, the parent's handler is in force here and would swallow the signal.
    signal.signal(signal.SIGTERM, _leave)
    configure_logging()
    threading.Thread(target=_follow, args=(parent, grace), name="follow", daemon=True).start()
    app = load()
    sigterm.heed(app.extensions["postroom.drain"])
    laggards.start(port)
    if announce is not None:
        threading.Thread(target=announce, name="announce", daemon=True).start()
    return app


def _follow(parent: int, grace: float) -> None:
    """End this worker when its parent was killed: nobody else would, and it would go on sending mail."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace + MARGIN)
    os.kill(os.getpid(), signal.SIGKILL)


def _when_ready(host: str, port: int, ready: Callable[[], None]) -> None:
    while True:
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            ready()
            return


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def _is_news(record: logging.LogRecord) -> bool:
    return "Python threads" not in record.getMessage()
