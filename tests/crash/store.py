"""What the database holds, read by another process than those that are killed: its own rows, not the API's view."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: Rows that a transaction cut in two would leave behind: a message without recipients, content or its own number.
_HALVES = {
    "notifications without a delivery": "SELECT count(*) FROM notifications WHERE id NOT IN "
    "(SELECT notification_id FROM deliveries)",
    "notifications without content": "SELECT count(*) FROM notifications WHERE NOT purge AND id NOT IN "
    "(SELECT notification_id FROM contents)",
    "deliveries finished and held": "SELECT count(*) FROM deliveries "
    "WHERE finished_at IS NOT NULL AND (holder IS NOT NULL OR token IS NOT NULL)",
    "deliveries sent without a reply": "SELECT count(*) FROM deliveries d WHERE status = 'sent' AND NOT EXISTS "
    "(SELECT 1 FROM attempts a WHERE a.delivery_id = d.id AND a.outcome = 'sent')",
    "deliveries sent twice by their history": "SELECT count(*) FROM "
    "(SELECT 1 FROM attempts WHERE outcome = 'sent' GROUP BY delivery_id HAVING count(*) > 1)",
}


class Store:
    """The SQLite file of a data directory."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def unfinished(self) -> int:
        """Return how many deliveries are open."""
        return self._number("SELECT count(*) FROM deliveries WHERE finished_at IS NULL")

    def held(self) -> int:
        """Return how many deliveries a dispatcher holds."""
        return self._number("SELECT count(*) FROM deliveries WHERE finished_at IS NULL AND holder IS NOT NULL")

    def dispatching(self) -> set[int]:
        """Return the process ids of the dispatchers that are registered, dead ones among them."""
        with self._open() as connection:
            return {pid for (pid,) in connection.execute("SELECT pid FROM dispatchers")}

    def jobs(self) -> set[str]:
        """Return the names of the periodic jobs that somebody has begun."""
        with self._open() as connection:
            return {name for (name,) in connection.execute("SELECT name FROM jobs")}

    def flaws(self) -> list[str]:
        """Return what is wrong with the file or its rows; nothing when all is well."""
        found = []
        with self._open() as connection:
            for what, query in _HALVES.items():
                [(count,)] = connection.execute(query)
                if count:
                    found.append(f"{count} {what}")
            found += [f"integrity: {said}" for (said,) in connection.execute("PRAGMA integrity_check") if said != "ok"]
            found += [f"no parent: {row}" for row in connection.execute("PRAGMA foreign_key_check")]
        return found

    def _number(self, query: str) -> int:
        with self._open() as connection:
            [(number,)] = connection.execute(query)
            return int(number)

    @contextmanager
    def _open(self) -> Iterator[Any]:
        connection = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=30)
        try:
            yield connection
        finally:
            connection.close()
