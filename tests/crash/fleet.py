"""The processes under fire: one server, which dispatches by its thread, or leaves that to others."""

import contextlib
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.broker import Broker
from tests.crash.store import Store
from tests.e2e.server import PATIENCE, Server


class Managed(Server):
    """A process that is started anew when it has ended, as a service manager does."""

    #: Workers that outlived their parent, by handles that no other process can come to bear.
    _orphans: Sequence[int] = ()

    def is_running(self) -> bool:
        """Tell whether the parent runs."""
        return self._process is not None and self._process.poll() is None

    def restart(self) -> None:
        """Start what is not running; a server answers when this returns."""
        if not self.is_running():
            self.start(ready=False)

    def kill_worker(self) -> None:
        """Send SIGKILL to a worker: the parent replaces it, or gives up when that happens too often."""
        for pid in self.workers()[:1]:
            os.kill(pid, signal.SIGKILL)

    def kill_parent(self) -> None:
        """Send SIGKILL to the parent alone: its workers find out, and end by themselves."""
        self._orphans = [*self._orphans, *map(os.pidfd_open, self.workers())]
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def kill(self) -> None:
        """Send SIGKILL to everything."""
        super().kill()
        for orphan in self._orphans:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(orphan, signal.SIGKILL)
            os.close(orphan)
        self._orphans = ()


class Driven(Managed):
    """A worker of Celery's, or beat: it serves nobody, and counts as started at once."""

    program = (sys.executable, "-m", "celery", "--app", "api.celery_app")

    def start(self, *, ready: bool = True) -> Self:
        """Start the process."""
        self.launch()
        return self


class Fleet:
    """A server, and so many dispatchers: one is the server's thread, more are processes of their own.

    With a broker they are workers of Celery's, of one process each, and beat calls them.
    """

    def __init__(self, directory: Path, dispatchers: int, broker: Broker | None = None, **settings: object) -> None:
        self.broker = broker
        self.beat: Driven | None = None
        if broker is not None:
            settings |= {"POSTROOM_BROKER_URL": broker.url, "POSTROOM_DISPATCH": "celery"}
            self.beat = Driven(directory, "beat", **settings)
            names = [f"worker-{number}@localhost" for number in range(dispatchers)]
            self.dispatchers: Sequence[Managed] = [
                Driven(directory, "worker", "--concurrency", "1", "--hostname", name, **settings) for name in names
            ]
        elif dispatchers == 1:
            settings |= {"POSTROOM_DISPATCH": "thread"}
            self.dispatchers = []
        else:
            settings |= {"POSTROOM_DISPATCH": "none"}
            self.dispatchers = [Managed(directory, "dispatch", **settings) for _ in range(dispatchers)]
        self.server = Managed(directory, "serve", **settings)
        url = settings.get("POSTROOM_DATABASE_URL") or f"sqlite:///{directory}/var/postroom.db"
        self.store = Store(str(url))

    def __enter__(self) -> Self:
        self.restore()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in self._processes():
            process.kill()

    def strike(self, chance: random.Random) -> str:
        """Kill one process that is at work, or a server in one of three ways; return which."""
        victim = chance.choice(self._at_work())
        if victim is self.beat and self.broker is not None:
            victim.kill()
            self.broker.flush()
            return "beat, and the broker flushed"
        if victim is not self.server:
            if isinstance(victim, Driven) and chance.random() < 0.5:
                victim.kill_worker()
                return "worker's process"
            victim.kill()
            return "dispatcher"
        way = chance.choice(("everything", "worker", "parent"))
        {"everything": victim.kill, "worker": victim.kill_worker, "parent": victim.kill_parent}[way]()
        return f"server's {way}" if way != "everything" else "server"

    def restore(self) -> None:
        """Start what has ended; the server answers, and one dispatcher is at work when this returns."""
        for process in self._processes():
            if process is not self.server:
                process.restart()
        deadline = time.monotonic() + PATIENCE * 2
        while not (self._is_answering() and self._is_dispatching()):
            self.server.restart()  # also a parent whose workers died too often, and that has given up
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.02)

    def logs(self) -> str:
        """Return what the processes have said since their last start."""
        return "\n".join(process.log() for process in (self.server, *self.dispatchers[:1]))

    def _processes(self) -> list[Managed]:
        return [self.server, *([self.beat] if self.beat is not None else []), *self.dispatchers]

    def _at_work(self) -> list[Managed]:
        busy = self.store.dispatching()
        at_work = [each for each in self.dispatchers if busy.intersection(each.processes())]
        return [self.server, *([self.beat] if self.beat is not None else []), *at_work]

    def _is_answering(self) -> bool:
        try:
            return self.server.is_running() and self.server.get("/healthz").status == 200
        except (OSError, HTTPException):
            return False

    def _is_dispatching(self) -> bool:
        busy = self.store.dispatching()
        if not self.dispatchers:
            return bool(busy.intersection(self.server.workers()))
        return any(each.is_running() and busy.intersection(each.processes()) for each in self.dispatchers)
