"""What the database holds, read by another process than those that are killed: its own rows, not the API's view."""

import fcntl
from pathlib import Path
from typing import Any

from sqlalchemy import NullPool, create_engine, make_url, text

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
    "(SELECT 1 FROM attempts WHERE outcome = 'sent' GROUP BY delivery_id HAVING count(*) > 1) AS twice",
}


class Store:
    """A database, read over a connection that is new each time."""

    def __init__(self, url: str) -> None:
        self._file = make_url(url).database if url.startswith("sqlite") else None
        read_only = f"sqlite:///file:{self._file}?mode=ro&uri=true&timeout=30"
        self._engine = create_engine(read_only if self._file else url, poolclass=NullPool)

    def unfinished(self) -> int:
        """Return how many deliveries are open."""
        return self._number("SELECT count(*) FROM deliveries WHERE finished_at IS NULL")

    def held(self) -> int:
        """Return how many deliveries a dispatcher holds."""
        return self._number("SELECT count(*) FROM deliveries WHERE finished_at IS NULL AND holder IS NOT NULL")

    def dispatching(self) -> set[int]:
        """Return the process ids of the dispatchers that are registered, dead ones among them."""
        return {pid for (pid,) in self._rows("SELECT pid FROM dispatchers")}

    def jobs(self) -> set[str]:
        """Return the names of the periodic jobs that somebody has begun."""
        return {name for (name,) in self._rows("SELECT name FROM jobs")}

    def flaws(self) -> list[str]:
        """Return what is wrong with the file or its rows; nothing when all is well."""
        found = [f"{count} {what}" for what, query in _HALVES.items() if (count := self._number(query))]
        if self._file:
            found += [f"integrity: {said}" for (said,) in self._rows("PRAGMA integrity_check") if said != "ok"]
            found += [f"no parent: {row}" for row in self._rows("PRAGMA foreign_key_check")]
        return found

    def is_at_rest(self) -> bool:
        """Tell whether nobody is in a transaction that writes; who is stopped there would keep all others waiting."""
        if self._file is None:
            others = "datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'"
            return self._number(f"SELECT count(*) FROM pg_stat_activity WHERE {others}") == 0  # noqa: S608 -- no input
        with Path(f"{self._file}.writer").open("ab") as turn:
            try:
                fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    def _number(self, query: str) -> int:
        [(number,)] = self._rows(query)
        return int(number)

    def _rows(self, query: str) -> list[Any]:
        with self._engine.connect() as connection:
            return list(connection.execute(text(query)))
