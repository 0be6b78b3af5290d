"""Postroom itself: `postroom dispatch --once`, one process or several, on a copy of a filled outbox."""

import sqlite3
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import outbox
from benchmarks.letters import SENDER
from benchmarks.processes import PATIENCE, Measure, cpu, peak_rss, started
from benchmarks.sinks import PASSWORD, USERNAME, Sink

#: Seconds between two looks at the database and at the processes, which share the cores with what is measured.
_LOOK = 0.01


def drain(filled: Path, sink: Sink, directory: Path, *, processes: int, senders: int | None) -> Measure:
    """Drain a copy of the outbox, from the first process's announcement to the last result in the table.

    Nothing is subtracted; only the start of the interpreter is told apart. Raises AssertionError unless every mail is
    `sent`, by one attempt.
    """
    database = outbox.copy(filled, directory / "postroom.db")
    count = sum(outbox.statuses(database).values())
    log = directory / "dispatch.log"
    with ExitStack() as stack:
        launched = time.monotonic()
        running = [
            stack.enter_context(started(command(), log=log, env=settings(database, sink, senders)))
            for _ in range(processes)
        ]
        watch = Watch(database, [one.pid for one in running])
        stack.enter_context(closing(watch))
        watch.until_begun(running)
        watch.until_done(running)
        for one in running:
            assert one.wait(PATIENCE) == 0, log.read_text()[-2000:]
    assert outbox.statuses(database) == {"sent": count}, outbox.statuses(database)
    assert outbox.attempts(database) == count
    return Measure(count, watch.done - watch.begun, watch.used, watch.peak, watch.begun - launched)


def command() -> list[str]:
    """Return the command of a dispatcher that ends when nothing is due."""
    return [sys.executable, "-m", "api.cli", "dispatch", "--once"]


def settings(database: Path, sink: Sink, senders: int | None) -> dict[str, object]:
    """Return the settings of a dispatcher, all others at their defaults."""
    chosen: dict[str, object] = {
        "POSTROOM_DATABASE_URL": f"sqlite:///{database}",
        "POSTROOM_SENDER": SENDER,
        "POSTROOM_RATE_LIMIT": "off",
        "POSTROOM_RECIPIENT_LIMIT": "off",
        "MAIL_SERVER": "127.0.0.1",
        "MAIL_PORT": sink.port,
    }
    if senders is not None:
        chosen["POSTROOM_SENDERS"] = senders
    if sink.ca is not None:
        chosen |= {"MAIL_USE_TLS": "true", "MAIL_USERNAME": USERNAME, "MAIL_PASSWORD": PASSWORD}
        chosen["MAIL_CA_FILE"] = sink.ca
    return chosen


class Watch:
    """Looks on while dispatchers drain; times are by `time.monotonic`."""

    def __init__(self, database: Path, pids: list[int]) -> None:
        self._database = database
        self._connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, isolation_level=None)
        self._pids = pids
        self.begun = self.done = self.used = self.peak = 0.0
        self._before = 0.0

    def close(self) -> None:
        self._connection.close()

    def until_begun(self, running: list[subprocess.Popen[bytes]]) -> None:
        """Wait until the first dispatcher has announced itself."""
        found = None
        while found is None:
            _check(running)
            time.sleep(_LOOK / 4)
            self._before = cpu(self._pids)
            found = self._connection.execute("SELECT min(started_at) FROM dispatchers").fetchone()[0]
        ago = datetime.now(UTC) - datetime.fromisoformat(found).replace(tzinfo=UTC)
        self.begun = time.monotonic() - ago.total_seconds()

    def follow(self, pids: list[int]) -> None:
        """Look at these processes; what they have used before now does not count."""
        self._pids = pids
        self._before = cpu(pids)

    def until_done(self, running: list[subprocess.Popen[bytes]]) -> None:
        """Wait until no delivery is open, noting what the processes use."""
        deadline = self.begun + PATIENCE
        while self._connection.execute("SELECT 1 FROM deliveries WHERE finished_at IS NULL LIMIT 1").fetchone():
            assert time.monotonic() < deadline, f"the outbox does not become empty: {outbox.statuses(self._database)}"
            _check(running)
            self._note()
            time.sleep(_LOOK)
        self.done = time.monotonic()
        self._note()

    def _note(self) -> None:
        # A process that is through early has taken its figures with it.
        self.used = max(self.used, cpu(self._pids) - self._before)
        self.peak = max(self.peak, peak_rss(self._pids))


def _check(running: list[subprocess.Popen[bytes]]) -> None:
    failed = [one.returncode for one in running if one.poll()]
    assert not failed, f"a dispatcher ended with {failed[0]}"
