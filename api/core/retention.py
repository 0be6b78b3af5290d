"""Retention: contents go so many days after a notification has ended, and whole notifications after so many more.

Ids are time-ordered, so what is old enough stands at the front of its table's primary key; what is old and has not
ended is passed over, and the look goes on behind it the next time.
"""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import Select, delete, exists, or_, select, update
from sqlalchemy.orm import Session

from api.core import clock, contents, policy
from api.core.batches import Batch
from api.core.db import transact
from api.core.figures import first_id
from api.core.models import Content, Delivery, Notification

#: Notifications that one transaction looks at, and about how many bytes of files it deletes: it holds up all others.
BATCH = 200
BATCH_BYTES = 32 * 1024 * 1024
#: Seconds that one round may take; what is left waits for the next.
ROUND_SECONDS = 0.5

_START = UUID(int=0)


@dataclass(slots=True)
class Retention:
    """Where the regular look at what is old enough has come to. One for each dispatcher: two do no harm."""

    content: UUID = _START
    metadata: UUID = _START

    def enforce(self) -> None:
        """Purge and delete what is old enough, batch by batch, for a short while. Raises Unavailable."""
        rules = policy.current()
        deadline = time.monotonic() + ROUND_SECONDS
        if rules.retain_metadata is not None:
            self.metadata = _round(delete_metadata, self.metadata, rules.retain_metadata, deadline)
        if rules.retain_content is not None:
            self.content = _round(purge_contents, self.content, rules.retain_content, deadline)


def purge_contents(session: Session, *, before: datetime, after: UUID) -> UUID | None:
    """Delete one batch of the contents of notifications that ended before a time; of those behind the id `after`.

    Returns the last id that was looked at, None when there is nothing behind it.
    """
    query = select(Content.notification_id, Content.attached).order_by(Content.notification_id)
    batch = _batch(session, query.where(Content.notification_id > after, Content.notification_id < first_id(before)))
    ended = _ended(session, [row.notification_id for row in batch], before)
    contents.purge(session, ended)
    session.execute(
        update(Notification)
        .where(Notification.id.in_(ended))
        .values(purge=False, subject=None)
        .execution_options(synchronize_session=False)
    )
    return batch[-1].notification_id if batch else None


def delete_metadata(session: Session, *, before: datetime, after: UUID) -> UUID | None:
    """Delete one batch of notifications that ended before a time, with all that belongs to them; as above."""
    query = select(Notification.id, Content.attached).outerjoin(Content).order_by(Notification.id)
    batch = _batch(session, query.where(Notification.id > after, Notification.id < first_id(before)))
    ended = _ended(session, [row.id for row in batch], before)
    gone = delete(Notification).where(Notification.id.in_(ended)).returning(Notification.batch_id)
    parts = session.scalars(gone.execution_options(synchronize_session=False))
    _delete_empty(session, {id_ for id_ in parts if id_ is not None})
    return batch[-1].id if batch else None


def _round(work: Any, after: UUID, keep: timedelta, deadline: float) -> UUID:
    """Work batch by batch, one at least, until the end or the deadline; return where to go on."""
    before = clock.utcnow() - keep
    while True:
        last: UUID | None = transact(partial(work, before=before, after=after), durable=False)
        if last is None or time.monotonic() >= deadline:
            return last or _START
        after = last


def _batch(session: Session, query: Select[UUID, int]) -> Sequence[Any]:
    rows = session.execute(query.limit(BATCH)).all()
    size = 0
    for number, row in enumerate(rows, start=1):
        size += row.attached or 0
        if size > BATCH_BYTES:
            return rows[:number]
    return rows


def _ended(session: Session, ids: Collection[UUID], before: datetime) -> list[UUID]:
    """Return those of the notifications whose last recipient was finished before a time."""
    # Locked before they are looked at, so that none is tried again by hand in between.
    locked = session.scalars(select(Notification.id).where(Notification.id.in_(ids)).with_for_update(skip_locked=True))
    found = set(locked)
    later = or_(Delivery.finished_at.is_(None), Delivery.finished_at >= before)
    found.difference_update(
        session.scalars(select(Delivery.notification_id).where(Delivery.notification_id.in_(ids), later))
    )
    return sorted(found)


def _delete_empty(session: Session, batch_ids: Collection[UUID]) -> None:
    """Delete those of the batches that hold no message any more."""
    is_left = exists().where(Notification.batch_id == Batch.id)
    empty = delete(Batch).where(Batch.id.in_(batch_ids), ~is_left)
    session.execute(empty.execution_options(synchronize_session=False))
