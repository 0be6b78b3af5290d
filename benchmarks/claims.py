"""What the dispatcher asks of the table again and again, timed on a database of any size."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from api.core import clock, dispatchers, outbox, policy, transports
from api.core.db import db, transact
from benchmarks.outbox import opened

LIMITS = (8, 100, 250)
#: Rounds over all sizes, and the times that each claim is done in one.
ROUNDS = 6
_TIMES = 10
_JOB_TIMES = 5


@dataclass(frozen=True, slots=True)
class Took:
    """The seconds of one claim, commit included: by the clock, and of CPU."""

    clock: float
    cpu: float


def claim_times(database: Path) -> dict[int, list[Took]]:
    """Return what one round of claims of each limit took; what is claimed is put back in between."""
    times: dict[int, list[Took]] = {limit: [] for limit in LIMITS}
    with opened(database), closing(sqlite3.connect(database, isolation_level=None)) as connection:
        me = transact(dispatchers.register, durable=False)
        lease = policy.current().lease
        for turn in range(_TIMES + 1):
            for limit in LIMITS:
                take = partial(outbox.claim, holder=me, transport=transports.RELAY, limit=limit, lease=lease)
                began, worked = time.perf_counter(), time.thread_time()
                claims = transact(take, durable=False)
                took = Took(time.perf_counter() - began, time.thread_time() - worked)
                assert len(claims) == limit, f"{len(claims)} of {limit} claimed"
                # The first ones compile the statements and read the file's upper pages.
                if turn:
                    times[limit].append(took)
                _put_back(connection, me.hex)
        connection.execute("DELETE FROM dispatchers")
    return times


def _put_back(connection: sqlite3.Connection, holder: str) -> None:
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute(
        "UPDATE deliveries SET status = 'queued', holder = NULL, token = NULL, attempts = 0, due_at = ? "
        "WHERE finished_at IS NULL AND holder = ?",
        [clock.utcnow().strftime("%Y-%m-%d %H:%M:%S.%f"), holder],
    )


def job_times(database: Path) -> dict[str, float]:
    """Return the seconds, at the best, of what a dispatcher does besides: looks and regular jobs."""
    with opened(database):
        me = transact(dispatchers.register, durable=False)
        rules = policy.current()
        names = [transports.RELAY, transports.CAPTURE]
        jobs: dict[str, Callable[[], object]] = {
            "is_due": lambda: outbox.is_due(db.session(), transport=transports.RELAY, holder=me),
            "next_due": lambda: outbox.next_due(db.session(), transports=names, holder=me),
            "expire (every 5 s)": lambda: transact(outbox.expire, durable=False),
            "unstick (every 60 s)": lambda: transact(
                lambda session: outbox.unstick(session, names=names, schedule=rules.schedule, lease=rules.lease),
                durable=False,
            ),
        }
        best = {name: min(_timed(job) for _ in range(_JOB_TIMES)) for name, job in jobs.items()}
        transact(lambda session: dispatchers.leave(session, me), durable=False)
        return best


def _timed(job: Callable[[], object]) -> float:
    began = time.perf_counter()
    job()
    return time.perf_counter() - began
