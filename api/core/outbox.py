"""The outbox: with `settling` and `steering`, the only module that moves a delivery from one status to another.

    scheduled is queued with due_at ahead
    queued ──claim──▶ sending ──2xx after the dot──▶ sent
      ▲                 │ │ ├──5xx for this recipient, or unsendable──▶ failed
      │   deferred ◀─4xx┘ │ └──the holder died──▶ claimable again; possible_duplicate if it was let into DATA
      └──claim──┘         └──expires_at passed──▶ expired; three holders died──▶ failed (parked)
    sending ──the relay's or the operator's fault──▶ queued or deferred as before, the attempt not counted
    queued, deferred ──cancel──▶ cancelled    failed, expired ──retry by hand──▶ queued    suppressed: never queued

`due_at` is send time, retry time and lease end in one: a dead worker's row falls due again by itself. The
attempt counts at the claim, and the claim's token fences every later write. These verbs run inside
`db.transact` and never commit.
"""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any, cast
from uuid import UUID, uuid4

from sqlalchemy import (
    CursorResult,
    Integer,
    Table,
    Update,
    and_,
    bindparam,
    case,
    exists,
    false,
    func,
    literal_column,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session

from api.core import clock, contents, retry, settling
from api.core.claim import Blame, Claim, Hold, Reply, Result, Settlement
from api.core.driver import OR_ROLLBACK, Statement, codec, instant_of, raw, uuid_of
from api.core.models import Delivery, Notification
from schemas.vocabulary import DeliveryStatus, Outcome, Phase

#: Holders that may die with a delivery before it is parked: it may be what kills them.
MAX_LAPSES = 3

_PARKED = Result(
    outcome=Outcome.FAILED,
    blame=Blame.MESSAGE,
    phase=Phase.WORKER,
    reply=Reply(None, None, f"parked: {MAX_LAPSES} workers in a row died while they held this message"),
    duration_ms=0,
)
_TABLE = cast(Table, Delivery.__table__)
_ROW = _TABLE.c
#: A clock that jumps ahead ends every lease: what this very process is sending stays its own.
_FREE = and_(_ROW.finished_at.is_(None), or_(_ROW.holder.is_(None), _ROW.holder != bindparam("me")))
_DUE = and_(_FREE, _ROW.due_at <= bindparam("now"))
_HERE = _ROW.transport == bindparam("name")
_IS_DUE = Statement(select(_ROW.id).where(_DUE, _HERE).limit(1))
_NEXT_DUE = Statement(select(func.min(_ROW.due_at)).where(_FREE, _HERE))
# The limit stands in a CTE because PostgreSQL may run a limited subquery twice and claim too many.
_OLDEST = (
    select(_ROW.id)
    .where(_DUE, _HERE)
    .order_by(_ROW.due_at)
    .limit(bindparam("most", type_=Integer))
    .with_for_update(skip_locked=True)
    .cte("due")
)
#: How likely it is that a row kills who holds it: by whom it was lost, and whether it was let into DATA then.
SUSPICION = (_ROW.lapses, _ROW.possible_duplicate)
#: How a claimed row ends that must not be sent; null for all others.
_END = case(
    (_ROW.withdrawn, literal_column("'cancelled'")),
    (_ROW.expires_at <= bindparam("now"), literal_column("'expired'")),
    (_ROW.lapses >= MAX_LAPSES, literal_column("'failed'")),
    else_=null(),
)
_CLAIM = Statement(
    update(_TABLE)
    .prefix_with(OR_ROLLBACK, dialect="sqlite")
    .where(_ROW.id.in_(select(_OLDEST.c.id)))
    .values(
        status=DeliveryStatus.SENDING,
        holder=bindparam("me"),
        token=bindparam("claim"),
        due_at=bindparam("lease_end"),
        attempts=_ROW.attempts + 1,
        lapses=_ROW.lapses + case((_ROW.status == DeliveryStatus.SENDING, 1), else_=0),
        possible_duplicate=or_(_ROW.possible_duplicate, _ROW.handed),
        handed=false(),
    )
    .returning(raw(_ROW.id), raw(_ROW.notification_id), _ROW.recipient, _ROW.attempts, _END, *SUSPICION)
)
#: What a released row goes back to: the attempt that is taken back was its first, or not.
_BEFORE = case((Delivery.attempts > 1, DeliveryStatus.DEFERRED.value), else_=DeliveryStatus.QUEUED.value)
UNCLAIMED: dict[str, Any] = {"token": None, "holder": None, "status": _BEFORE, "attempts": Delivery.attempts - 1}


def is_due(session: Session, *, transport: str, holder: UUID) -> bool:
    """Tell whether `claim` would find something, by a read alone."""
    connection = session.connection()
    form = codec(connection.dialect.name)
    values = {"name": transport, "now": form.instant(clock.utcnow()), "me": form.id(holder)}
    return bool(_IS_DUE.rows(connection, values))


def next_due(session: Session, *, transports: Collection[str], holder: UUID) -> datetime | None:
    """Return when the next delivery that `holder` may claim falls due."""
    connection = session.connection()
    me = codec(connection.dialect.name).id(holder)
    found = [_NEXT_DUE.rows(connection, {"name": name, "me": me})[0][0] for name in transports]
    return min((instant_of(due) for due in found if due is not None), default=None)


def claim(
    session: Session, *, holder: UUID, transport: str, limit: int, lease: timedelta, token: UUID | None = None
) -> list[Claim]:
    """Take up to `limit` due deliveries for `holder` until the lease ends, oldest first, as values; under one token.

    What has expired, was withdrawn or has lost too many holders is finished here and not returned. What has
    attachments waits while those that `holder` has already take up the memory for them.
    """
    now = clock.utcnow()
    token = uuid4() if token is None else token
    connection = session.connection()
    form = codec(connection.dialect.name)
    values = {
        "name": transport,
        "now": form.instant(now),
        "me": form.id(holder),
        "claim": form.id(token),
        "lease_end": form.instant(now + lease),
        "most": limit,
    }
    rows = _CLAIM.rows(connection, values)
    held = [row for row in rows if row[4] is None]
    if len(held) < len(rows):
        _finish_unsendable(session, [row for row in rows if row[4] is not None], transport=transport, now=now)
    frozen = contents.load_claimed(session, holder=holder, token=token) if held else {}
    if len(held) > len(frozen):
        held = _release_heavy(session, held, frozen, now=now)
    # RETURNING promises no order; ids are time-ordered. What holders have died with comes last: if it is what killed
    # them, the others are sent by then, and if not, it is not the first in hand again when the next one is killed.
    return [
        Claim(uuid_of(id_), token, attempts, transport, uuid_of(notification_id), recipient, frozen[notification_id])
        for id_, notification_id, recipient, attempts, *_ in sorted(held, key=itemgetter(5, 6, 0))
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
        _touched(session, _held(held).values(**UNCLAIMED, due_at=clock.utcnow()))


def revoke(session: Session, *, holder: UUID, token: UUID) -> int:
    """Give back what a claim took whose commit was never answered: nobody knows of it; return how many those are."""
    mine = and_(Delivery.finished_at.is_(None), Delivery.holder == holder, Delivery.token == token)
    return touched(session, update(Delivery).where(mine).values(**UNCLAIMED, due_at=clock.utcnow()))


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
    return touched(
        session,
        update(Delivery).where(Delivery.id.in_(over)).values(status=DeliveryStatus.EXPIRED, finished_at=now),
    )


def unstick(session: Session, *, names: Collection[str], schedule: retry.Schedule, lease: timedelta) -> int:
    """Bring nearer what a clock that was ahead has put further off than any wait on these transports can be."""
    now = clock.utcnow()
    unscheduled = exists().where(Notification.id == Delivery.notification_id, Notification.send_at.is_(None))
    waiting = and_(Delivery.status == DeliveryStatus.QUEUED, unscheduled)
    longest = now + max(schedule.longest, schedule.first)
    retried = and_(Delivery.status == DeliveryStatus.DEFERRED, Delivery.due_at > longest)
    leased = and_(Delivery.status == DeliveryStatus.SENDING, Delivery.due_at > now + lease)
    return touched(
        session,
        update(Delivery)
        # Only what lies ahead is looked at: a backlog that is due already costs nothing here.
        .where(Delivery.finished_at.is_(None), Delivery.transport.in_(names), Delivery.due_at > now)
        .where(or_(waiting, retried, leased))
        .values(due_at=case((Delivery.status == DeliveryStatus.QUEUED, now), else_=now + lease)),
    )


def _held(claim: Hold) -> Update:
    return update(Delivery).where(
        Delivery.id == claim.delivery_id,
        Delivery.token == claim.token,
        Delivery.status == DeliveryStatus.SENDING,
    )


def touched(session: Session, statement: Update) -> int:
    """Carry an UPDATE out and return how many rows it has touched."""
    done = session.execute(statement.execution_options(synchronize_session=False))
    assert isinstance(done, CursorResult)  # noqa: S101 -- tells the type checker what an UPDATE gives
    return done.rowcount


def _touched(session: Session, statement: Update) -> bool:
    return touched(session, statement) == 1


def _finish_unsendable(session: Session, rows: Iterable[Any], *, transport: str, now: datetime) -> None:
    """Finish claimed rows that must not be sent, as `_END` says of each."""
    ends: dict[DeliveryStatus, list[UUID]] = {}
    for id_, _, _, _, end, *_ in rows:
        ends.setdefault(DeliveryStatus(end), []).append(uuid_of(id_))
    for status, ids in ends.items():
        # Only the parked one was really tried; of the others the attempt is taken back.
        untried = 0 if status is DeliveryStatus.FAILED else 1
        values = {"status": status, "finished_at": now, "attempts": Delivery.attempts - untried}
        touched(session, update(Delivery).where(Delivery.id.in_(ids)).values(values | {"token": None, "holder": None}))
    parked = [Hold(id_, token=id_, attempt=0, transport=transport) for id_ in ends.get(DeliveryStatus.FAILED, [])]
    settling.remember(session, [Settlement(hold, _PARKED, now) for hold in parked])


def _release_heavy(session: Session, rows: Iterable[Any], frozen: Collection[Any], *, now: datetime) -> list[Any]:
    """Give back the claimed rows whose content there is no room for in memory; return the others."""
    heavy = [uuid_of(row[0]) for row in rows if row[1] not in frozen]
    if heavy:
        touched(session, update(Delivery).where(Delivery.id.in_(heavy)).values(**UNCLAIMED, due_at=now))
    return [row for row in rows if row[1] in frozen]
