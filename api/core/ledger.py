"""The ledger: how much of its rate each subject has used, in the database. Runs inside `db.transact`."""

import struct
from array import array
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import cast

from sqlalchemy import CursorResult, LargeBinary, String, Table, bindparam, delete, insert, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.core import clock
from api.core.db import Base, Instant
from api.core.rates import Log

#: Rows deleted in one statement, and read in one.
PURGE_LIMIT = 1000
CHUNK = 500


class Quota(Base):
    """What a subject has used of a rate: its log (see `core.rates`), for as long as any of it counts."""

    __tablename__ = "quotas"

    subject: Mapped[str] = mapped_column(String(32), primary_key=True)
    log: Mapped[bytes] = mapped_column(LargeBinary)
    ends_at: Mapped[datetime] = mapped_column(Instant, index=True)


_TABLE = cast(Table, Quota.__table__)
_UPDATE = (
    update(_TABLE)
    .where(_TABLE.c.subject == bindparam("name"))
    .values(log=bindparam("log"), ends_at=bindparam("ends_at"))
)


def read(session: Session, names: Sequence[str]) -> dict[str, Log]:
    """Return the logs of these subjects, sorted by name, and keep others from counting them meanwhile."""
    known: dict[str, Log] = {}
    for chunk in _chunks(names):
        if session.get_bind().dialect.name == "postgresql":
            # A row must be there to be locked. Always in the same order: nobody waits for who waits for him.
            rows = [{"subject": name, "log": b"", "ends_at": clock.utcnow()} for name in chunk]
            session.execute(postgresql.insert(_TABLE).on_conflict_do_nothing(), rows)
        found = select(Quota.subject, Quota.log).where(Quota.subject.in_(chunk)).order_by(Quota.subject)
        known |= {row.subject: _unpacked(row.log) for row in session.execute(found.with_for_update())}
    return known


def write(session: Session, logs: Mapping[str, Log], known: Mapping[str, object]) -> None:
    """Store the logs of subjects, those in `known` over what `read` gave."""
    rows = {name: {"log": _packed(log), "ends_at": _end(log)} for name, log in logs.items()}
    new = [{"subject": name, **row} for name, row in rows.items() if name not in known]
    old = [{"name": name, **row} for name, row in rows.items() if name in known]
    if new:
        session.execute(insert(_TABLE), new)
    if old:
        session.connection().execute(_UPDATE, old)


def _chunks(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), CHUNK):
        yield names[start : start + CHUNK]


def _packed(log: Log) -> bytes:
    return struct.pack(f"<{len(log)}d", *log)


def _unpacked(packed: bytes) -> Log:
    return array("d", struct.unpack(f"<{len(packed) // 8}d", packed))


def _end(log: Log) -> datetime:
    return datetime.fromtimestamp(log[-2], UTC) if log else clock.utcnow()


def purge(session: Session, *, limit: int = PURGE_LIMIT) -> int:
    """Delete rows of which nothing counts any more, up to `limit`; return how many."""
    over = select(Quota.subject).where(Quota.ends_at < clock.utcnow()).limit(limit)
    gone = session.execute(delete(Quota).where(Quota.subject.in_(over)).execution_options(synchronize_session=False))
    assert isinstance(gone, CursorResult)  # noqa: S101 -- tells the type checker what a DELETE gives
    return gone.rowcount
