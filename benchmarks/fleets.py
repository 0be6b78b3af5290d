"""Dispatchers by the handful: so many processes of one drive, on one PostgreSQL."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from api.core import keys
from benchmarks import load, outbox
from benchmarks.celery_queue import broker
from benchmarks.letters import SENDER
from benchmarks.postgres import Ledger, Postgres
from benchmarks.processes import PATIENCE, Measure, cpu, descendants, free_port, peak_rss, started
from benchmarks.servers import PATH, serve, wait_until_answered
from benchmarks.sinks import Sink
from schemas.vocabulary import Scope

#: Seconds between two looks at the table; the question costs the server time.
_LOOK = 0.05
#: Seconds that mail comes in while the backlog is drained.
WINDOW = 5.0


@dataclass(frozen=True, slots=True)
class Drained(Measure):
    """A measure that tells apart what else was busy: CPU seconds of the database, and of whatever took the mail."""

    database: float = 0.0
    sink: float = 0.0
    #: Of the accepts that came in meanwhile.
    answers: load.Answers | None = None


@dataclass(frozen=True, slots=True)
class Fleet:
    """So many processes, each with one dispatcher, called in one of three ways: thread, dispatch, celery."""

    drive: str
    processes: int

    @property
    def name(self) -> str:
        how = {"thread": "the thread in serve", "dispatch": "postroom dispatch", "celery": "Celery"}[self.drive]
        return f"Postroom, {how}, {self.processes}"

    @contextmanager
    def running(self, ledger: Ledger, sink: Sink, directory: Path) -> Iterator["Running"]:
        """Start everything; ours is all of it but the database and the sink."""
        with ExitStack() as stack:
            env = _settings(ledger, sink)
            others = []
            if self.drive == "celery":
                url = f"redis://127.0.0.1:{broker(directory, stack)}/0"
                env |= {"POSTROOM_BROKER_URL": url, "POSTROOM_DISPATCH": "celery"}
            elif self.drive == "dispatch":
                env |= {"POSTROOM_DISPATCH": "none"}
            log = directory / "fleet.log"
            for command in self._commands():
                others.append(stack.enter_context(started(command, log=log, env=env)))
            yield Running(ledger, others, log, self.processes, env)

    def _commands(self) -> list[list[str]]:
        if self.drive == "thread":
            return [[*serve(free_port()), "--workers", str(self.processes)]]
        if self.drive == "dispatch":
            return [[sys.executable, "-m", "api.cli", "dispatch"]] * self.processes
        options = ["--concurrency", "1", "--loglevel", "WARNING", "--hostname"]
        workers = [_celery("worker", *options, f"worker-{number}@localhost") for number in range(self.processes)]
        return [*workers, _celery("beat")]


@dataclass(slots=True)
class Running:
    """A fleet at work, and what it has used."""

    ledger: Ledger
    processes: list[subprocess.Popen[bytes]]
    log: Path
    expected: int
    env: dict[str, object]

    def until_begun(self, enough: int) -> None:
        """Wait until all dispatchers have announced themselves, or no more than `enough` mails are left."""
        deadline = time.monotonic() + PATIENCE
        while self.ledger.dispatchers() < self.expected and self.ledger.unfinished() > enough:
            self._check(deadline)

    def until_done(self) -> float:
        """Wait until no delivery is open; return the most memory in MB that was used."""
        deadline = time.monotonic() + PATIENCE
        while not self.ledger.is_done():
            self._check(deadline)
        return peak_rss(self.pids())

    def pids(self) -> list[int]:
        found = [one.pid for one in self.processes]
        return found + [child for pid in found for child in descendants(pid)]

    def _check(self, deadline: float) -> None:
        assert time.monotonic() < deadline, f"not done:\n{self.log.read_text()[-2000:]}"
        ended = [one.returncode for one in self.processes if one.poll() is not None]
        assert not ended, f"ended with {ended[0]}:\n{self.log.read_text()[-2000:]}"
        time.sleep(_LOOK)


def drain(fleet: Fleet, postgres: Postgres, filled: str, sink: Sink, directory: Path, count: int) -> Drained:
    """Drain a copy of a filled outbox, measured once every process is there; AssertionError unless each went once."""
    with (
        closing(postgres.copy(filled)) as ledger,
        fleet.running(ledger, sink, directory) as running,
    ):
        launched = time.monotonic()
        running.until_begun(count // 3)
        before, begun, mails = _used(running, postgres, sink), time.monotonic(), ledger.unfinished()
        rss = running.until_done()
        done = time.monotonic()
        ours, database, taker = (now - then for now, then in zip(_used(running, postgres, sink), before, strict=True))
        ledger.check(count)
        return Drained(mails, done - begun, ours, rss, begun - launched, database, taker)


def drain_and_accept(
    fleet: Fleet, postgres: Postgres, filled: str, sink: Sink, directory: Path, count: int, *, rate: float
) -> Drained:
    """Drain while mail comes in over HTTP at a rate; the measure is of those seconds, the check of everything."""
    with (
        closing(postgres.copy(filled)) as ledger,
        _accepting(ledger, directory) as (url, key),
        fleet.running(ledger, sink, directory) as running,
    ):
        launched = time.monotonic()
        running.until_begun(count // 2)
        before, begun, waited = _used(running, postgres, sink), time.monotonic(), ledger.unfinished()
        answers = _Posting(url, key, rate)
        answers.join(WINDOW)
        used, done, left = _used(running, postgres, sink), time.monotonic(), ledger.unfinished()
        answers.join()
        assert answers.given is not None
        accepted = answers.given.accepted
        rss = running.until_done()
        ledger.check(count + accepted)
        ours, database, taker = (now - then for now, then in zip(used, before, strict=True))
        assert left > 0, "the backlog was too short: nothing was drained at the end"
        sent = waited + round(accepted * (done - begun) / answers.given.seconds) - left
        return Drained(sent, done - begun, ours, rss, begun - launched, database, taker, answers.given)


class _Posting(threading.Thread):
    """Posts mails at a rate while others look on."""

    def __init__(self, url: str, key: str, rate: float) -> None:
        super().__init__()
        self._url, self._key, self._rate = url, key, rate
        self.given: load.Answers | None = None
        self.start()

    def run(self) -> None:
        self.given = load.steady(self._url, self._key, WINDOW, rate=self._rate)


@contextmanager
def _accepting(ledger: Ledger, directory: Path) -> Iterator[tuple[str, str]]:
    """Serve without dispatching and without limits; give the URL to post to, and a key."""
    with outbox.opened(ledger.url):
        _, key = keys.create(name="bench", scopes=[Scope.NOTIFICATIONS_WRITE])
    port, log = free_port(), directory / "serve.log"
    env = _settings(ledger, None) | {"POSTROOM_DISPATCH": "none"}
    with started(serve(port), log=log, env=env) as process:
        wait_until_answered(process, f"http://127.0.0.1:{port}/healthz", log)
        yield f"http://127.0.0.1:{port}{PATH}", key


def _used(running: Running, postgres: Postgres, sink: Sink) -> tuple[float, float, float]:
    """Return the CPU seconds of ours, of the database, and of what takes the mail."""
    return cpu(running.pids()), postgres.used(), cpu(sink.pids)


def _settings(ledger: Ledger, sink: Sink | None) -> dict[str, object]:
    return {
        "POSTROOM_DATABASE_URL": ledger.url,
        "POSTROOM_SENDER": SENDER,
        "POSTROOM_RATE_LIMIT": "off",
        "POSTROOM_RECIPIENT_LIMIT": "off",
        "MAIL_SERVER": "127.0.0.1",
        "MAIL_PORT": sink.port if sink is not None else 25,
    }


def _celery(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "celery", "-A", "api.celery_app", *arguments]
