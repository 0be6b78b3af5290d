"""PostgreSQL as it stands in production, commits on disk and autovacuum on; outboxes in it, filled once and copied."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import psycopg

from benchmarks import outbox
from benchmarks.processes import cpu, descendants
from tests.postgresql.server import Server

_CONFIG = {
    "fsync": "on",
    "full_page_writes": "on",
    "autovacuum": "on",
    "wal_level": "replica",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "timezone": "UTC",
}
_UNFINISHED = "SELECT count(*) FROM deliveries WHERE finished_at IS NULL"


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running server; of the databases in it, one is worked on at a time."""

    server: Server

    def fill(self, name: str, count: int) -> None:
        """Make a database with so many accepted mails, to be copied."""
        outbox.fill(self.server.create(name), count)
        with closing(self.server.connect(name)) as connection:
            connection.execute("VACUUM (ANALYZE, FREEZE)")

    def copy(self, filled: str) -> "Ledger":
        """Return a copy of a filled database, in the place of the last copy."""
        url = self.server.create("run", template=filled)
        # What the copy has left to be written would be written while something is measured.
        self.server.execute("CHECKPOINT")
        return Ledger(url, self.server.connect("run"))

    def version(self) -> str:
        return str(self.server.execute("SHOW server_version")[0][0])

    def used(self) -> float:
        """Return the CPU seconds of all its processes."""
        return cpu([self.server.pid, *descendants(self.server.pid)])


@dataclass(frozen=True, slots=True)
class Ledger:
    """What stands in one database, by a connection of our own."""

    url: str
    connection: psycopg.Connection

    def close(self) -> None:
        self.connection.close()

    def dispatchers(self) -> int:
        """Return how many dispatchers have announced themselves."""
        return self._number("SELECT count(*) FROM dispatchers")

    def unfinished(self) -> int:
        return self._number(_UNFINISHED)

    def is_done(self) -> bool:
        return not self.connection.execute("SELECT 1 FROM deliveries WHERE finished_at IS NULL LIMIT 1").fetchall()

    def check(self, count: int) -> None:
        """Raise AssertionError unless so many mails were sent, each by one attempt."""
        found = dict(self.connection.execute("SELECT status, count(*) FROM deliveries GROUP BY status").fetchall())
        assert found == {"sent": count}, found
        assert self._number("SELECT count(*) FROM attempts") == count

    def _number(self, query: str) -> int:
        row = self.connection.execute(query).fetchone()
        assert row is not None
        return int(row[0])


@contextmanager
def running() -> Iterator[Postgres]:
    """Run a server."""
    with Server(**_CONFIG) as server:
        yield Postgres(server)
