"""The outbox: with `settling` and `steering`, the only module that moves a delivery from one status to another.

    scheduled is queued with due_at ahead
    queued ──claim──▶ sending ──2xx after the dot──▶ sent
      ▲                 │ │ ├──5xx for this recipient, or unsendable──▶ failed
      │   deferred ◀─4xx┘ │ └──the holder died──▶ claimable again; possible_duplicate if it was let into DATA
      └──claim──┘         └──expires_at passed──▶ expired; three holders died──▶ failed (parked)
    sending ──the relay's or the operator's fault──▶ queued or deferred as before, the attempt not counted
    queued, deferred ──cancel──▶ cancelled        suppressed: never queued

`due_at` is send time, retry time and lease end in one: a dead worker's row falls due again by itself. The
attempt counts at the claim, and the claim's token fences every later write. These verbs run inside
`db.transact` and never commit.
"""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    ColumnElement,
    CursorResult,
    Update,
    and_,
    case,
    false,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session

from api.core import clock, contents, retry, settling
from api.core.claim import Blame, Claim, Hold, Reply, Result, Settlement
from api.core.models import Attempt, Delivery
from schemas.vocabulary import DeliveryStatus, Outcome, Phase

#: Holders that may die with a delivery before it is parked: it may be what kills them.
MAX_LAPSES = 3
#: Bytes of attachments that a holder has in memory at most; of a larger message, one at a time.
MAX_ATTACHED = 64 * 1024 * 1024

_PARKED = Result(
    outcome=Outcome.FAILED,
    blame=Blame.MESSAGE,
    phase=Phase.WORKER,
    reply=Reply(None, None, f"parked: {MAX_LAPSES} workers in a row died while they held this message"),
    duration_ms=0,
)
#: What a released row goes back to: the attempt that is taken back was its first, or not.
_BEFORE = case((Delivery.attempts > 1, DeliveryStatus.DEFERRED.value), else_=DeliveryStatus.QUEUED.value)
_UNCLAIMED: dict[str, Any] = {
    "token": None,
    "holder": None,
    "status": _BEFORE,
    "attempts": Delivery.attempts - 1,
}


def is_due(session: Session, *, transports: Collection[str], holder: UUID) -> bool:
    """Tell whether `claim` would find something, by a read alone."""
    found = select(Delivery.id).where(_due(clock.utcnow(), holder), Delivery.transport.in_(transports)).limit(1)
    return session.execute(found).first() is not None


def next_due(session: Session, *, transports: Collection[str], holder: UUID) -> datetime | None:
    """Return when the next delivery that `holder` may claim falls due."""
    return session.scalar(
        select(func.min(Delivery.due_at)).where(
            Delivery.finished_at.is_(None),
            Delivery.transport.in_(transports),
            or_(Delivery.holder.is_(None), Delivery.holder != holder),
        )
    )


def claim(session: Session, *, holder: UUID, transport: str, limit: int, lease: timedelta) -> list[Claim]:
    """Take up to `limit` due deliveries for `holder` until the lease ends, oldest first, as values.

    What has expired, was withdrawn or has lost too many holders is finished here and not returned. What has
    attachments waits while those that `holder` has already take up `MAX_ATTACHED`.
    """
    now = clock.utcnow()
    token = uuid4()
    # The limit stands in a CTE because PostgreSQL may run a limited subquery twice and claim too many.
    due = (
        select(Delivery.id)
        .where(_due(now, holder), Delivery.transport == transport)
        .order_by(Delivery.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    rows = session.execute(
        update(Delivery)
        .where(Delivery.id.in_(select(due.c.id)))
        .values(
            status=DeliveryStatus.SENDING,
            holder=holder,
            token=token,
            due_at=now + lease,
            attempts=Delivery.attempts + 1,
            lapses=Delivery.lapses + case((Delivery.status == DeliveryStatus.SENDING, 1), else_=0),
            possible_duplicate=or_(Delivery.possible_duplicate, Delivery.handed),
            handed=false(),
        )
        .returning(
            Delivery.id,
            Delivery.notification_id,
            Delivery.recipient,
            Delivery.attempts,
            Delivery.lapses,
            Delivery.withdrawn,
            Delivery.expires_at,
        )
        .execution_options(synchronize_session=False)
    ).all()
    held = _finish_unsendable(session, rows, transport=transport, now=now)
    held = _release_heavy(session, held, holder=holder, now=now)
    frozen = contents.load(session, {row.notification_id for row in held})
    # RETURNING promises no order; ids are time-ordered.
    return [
        Claim(
            delivery_id=row.id,
            notification_id=row.notification_id,
            token=token,
            attempt=row.attempts,
            transport=transport,
            recipient=row.recipient,
            content=frozen[row.notification_id],
        )
        for row in sorted(held, key=lambda row: row.id)
    ]


def confirm(session: Session, claim: Hold, *, lease: timedelta) -> bool:
    """Renew the lease and note that the holder enters DATA; False if it no longer holds the delivery, or must not."""
    return _touched(
        session,
        _held(claim).where(Delivery.withdrawn.is_(false())).values(handed=True, due_at=clock.utcnow() + lease),
    )


def enter(session: Session, holds: Iterable[Hold]) -> None:
    """Note that these deliveries were let into DATA, if they are still held by these claims."""
    for hold in holds:
        _touched(session, _held(hold).values(handed=True))


def release(session: Session, claims: Iterable[Hold]) -> None:
    """Give back what was claimed and never begun, as if it had not been claimed."""
    for held in claims:
        _touched(session, _held(held).values(**_UNCLAIMED, due_at=clock.utcnow()))


def withdraw(session: Session, where: ColumnElement[bool]) -> int:
    """Cancel the matching deliveries that wait, mark those being sent; return how many were cancelled."""
    now = clock.utcnow()
    waiting = Delivery.status.in_([DeliveryStatus.QUEUED, DeliveryStatus.DEFERRED])
    cancelled = _rows(
        session, update(Delivery).where(where, waiting).values(status=DeliveryStatus.CANCELLED, finished_at=now)
    )
    _rows(session, update(Delivery).where(where, Delivery.finished_at.is_(None)).values(withdrawn=True))
    return cancelled


def suspect(session: Session, holder: UUID) -> None:
    """Note of all that a dead holder was sending that it may have been let into DATA."""
    _rows(
        session, update(Delivery).where(Delivery.finished_at.is_(None), Delivery.holder == holder).values(handed=True)
    )


def recover(session: Session, holders: Collection[UUID]) -> int:
    """Let the deliveries of dead holders fall due now, whatever their leases say; return how many."""
    now = clock.utcnow()
    return _rows(
        session,
        update(Delivery)
        .where(Delivery.finished_at.is_(None), Delivery.holder.in_(holders), Delivery.due_at > now)
        .values(due_at=now),
    )


def expire(session: Session, *, limit: int = 1000) -> int:
    """Finish waiting deliveries whose time is over, also while nothing can be sent; return how many."""
    now = clock.utcnow()
    over = (
        select(Delivery.id)
        .where(
            Delivery.finished_at.is_(None),
            Delivery.expires_at <= now,
            Delivery.status.in_([DeliveryStatus.QUEUED, DeliveryStatus.DEFERRED]),
        )
        .limit(limit)
    )
    return _rows(
        session,
        update(Delivery).where(Delivery.id.in_(over)).values(status=DeliveryStatus.EXPIRED, finished_at=now),
    )


def unstick(session: Session, *, schedule: retry.Schedule, lease: timedelta) -> int:
    """Bring nearer what a clock that was ahead has put further off than any retry or lease can be."""
    now = clock.utcnow()
    longest = now + max(schedule.longest, schedule.first)
    retried = and_(Delivery.status == DeliveryStatus.DEFERRED, Delivery.due_at > longest)
    leased = and_(Delivery.status == DeliveryStatus.SENDING, Delivery.due_at > now + lease)
    return _rows(
        session, update(Delivery).where(Delivery.finished_at.is_(None), or_(retried, leased)).values(due_at=now + lease)
    )


def _due(now: datetime, holder: UUID) -> ColumnElement[bool]:
    # A clock that jumps ahead ends every lease: what this very process is sending stays its own.
    free = or_(Delivery.holder.is_(None), Delivery.holder != holder)
    return and_(Delivery.finished_at.is_(None), Delivery.due_at <= now, free)


def _held(claim: Hold) -> Update:
    return update(Delivery).where(
        Delivery.id == claim.delivery_id,
        Delivery.token == claim.token,
        Delivery.status == DeliveryStatus.SENDING,
    )


def _rows(session: Session, statement: Update) -> int:
    done = session.execute(statement.execution_options(synchronize_session=False))
    assert isinstance(done, CursorResult)  # noqa: S101 -- tells the type checker what an UPDATE gives
    return done.rowcount


def _touched(session: Session, statement: Update) -> bool:
    return _rows(session, statement) == 1


def _finish_unsendable(session: Session, rows: Iterable[Any], *, transport: str, now: datetime) -> list[Any]:
    """Finish the claimed rows that must not be sent; return the others."""
    ends: dict[DeliveryStatus, list[UUID]] = {}
    held = []
    for row in rows:
        if row.withdrawn:
            ends.setdefault(DeliveryStatus.CANCELLED, []).append(row.id)
        elif row.expires_at <= now:
            ends.setdefault(DeliveryStatus.EXPIRED, []).append(row.id)
        elif row.lapses >= MAX_LAPSES:
            ends.setdefault(DeliveryStatus.FAILED, []).append(row.id)
        else:
            held.append(row)
    for status, ids in ends.items():
        # Only the parked one was really tried; of the others the attempt is taken back.
        untried = 0 if status is DeliveryStatus.FAILED else 1
        values = {"status": status, "finished_at": now, "attempts": Delivery.attempts - untried}
        _rows(session, update(Delivery).where(Delivery.id.in_(ids)).values(values | {"token": None, "holder": None}))
    parked = ends.get(DeliveryStatus.FAILED, [])
    if parked:
        holds = [Hold(id_, token=id_, attempt=0, transport=transport) for id_ in parked]
        session.execute(insert(Attempt), [settling.attempt(Settlement(hold, _PARKED, now)) for hold in holds])
    return held


def _release_heavy(session: Session, rows: list[Any], *, holder: UUID, now: datetime) -> list[Any]:
    """Give back the claimed rows whose attachments there is no room for in memory; return the others."""
    heavy = contents.weights(session, {row.notification_id for row in rows})
    if not heavy:
        return rows
    elsewhere = select(Delivery.notification_id).where(
        Delivery.holder == holder, Delivery.finished_at.is_(None), Delivery.notification_id.not_in(heavy)
    )
    load = contents.weight(session, elsewhere)
    for id_ in sorted(heavy):
        if load and load + heavy[id_] > MAX_ATTACHED:
            continue
        load += heavy.pop(id_)
    given_back = [row.id for row in rows if row.notification_id in heavy]
    _rows(session, update(Delivery).where(Delivery.id.in_(given_back)).values(**_UNCLAIMED, due_at=now))
    return [row for row in rows if row.notification_id not in heavy]
