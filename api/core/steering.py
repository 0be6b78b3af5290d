"""Steering: the caller's part of the outbox's state machine.

    queued, deferred ──cancel, withdraw, erase──▶ cancelled        failed, expired ──retry──▶ queued, due now
    queued, never tried ──reschedule──▶ queued, due then

Each verb is decided by one statement, by the rows as it finds them: a claim that was faster has won, and the verb's
answer says so. Runs inside `db.transact`.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Update, and_, case, exists, func, not_, or_, select, true, update
from sqlalchemy.orm import Session, aliased

from api.core import clock
from api.core.models import Content, Delivery
from schemas.vocabulary import DeliveryStatus

#: Stands where an erased address stood; not an address, so that nothing can be sent to it.
ERASED = "[erased]"
#: Finished without having been tried.
_UNTRIED = (DeliveryStatus.CANCELLED, DeliveryStatus.SUPPRESSED)

_Other = aliased(Delivery)
_IS_WAITING = Delivery.status.in_([DeliveryStatus.QUEUED, DeliveryStatus.DEFERRED])


def cancel(session: Session, notification_id: UUID) -> bool:
    """Cancel what waits, unless the notification as a whole is being sent or finished; tell whether anything was.

    While some recipients wait in the queue, others may already be sent to: those stay as they are, but what is being
    sent is not tried again.
    """
    is_sending = and_(
        _some(notification_id, _Other.status == DeliveryStatus.SENDING),
        not_(_some(notification_id, _Other.status == DeliveryStatus.QUEUED)),
    )
    cancelled = _count(
        session,
        update(Delivery)
        .where(Delivery.notification_id == notification_id, _IS_WAITING, not_(is_sending))
        .values(status=DeliveryStatus.CANCELLED, finished_at=clock.utcnow()),
    )
    if cancelled:
        rest = update(Delivery).where(Delivery.notification_id == notification_id, Delivery.finished_at.is_(None))
        _count(session, rest.values(withdrawn=True))
    return cancelled > 0


def withdraw(session: Session, where: ColumnElement[bool]) -> int:
    """Cancel the matching deliveries that wait, mark those being sent; return how many were cancelled."""
    cancelled = _count(
        session,
        update(Delivery).where(where, _IS_WAITING).values(status=DeliveryStatus.CANCELLED, finished_at=clock.utcnow()),
    )
    _count(session, update(Delivery).where(where, Delivery.finished_at.is_(None)).values(withdrawn=True))
    return cancelled


def erase(session: Session, where: ColumnElement[bool]) -> None:
    """Withdraw the matching deliveries, and erase whom they go to.

    One statement, so that a claim or a retry of a row comes before it or after it: none waits without an address.
    """
    is_sending = and_(Delivery.finished_at.is_(None), not_(_IS_WAITING))
    _count(
        session,
        update(Delivery)
        .where(where)
        .values(
            status=case((_IS_WAITING, DeliveryStatus.CANCELLED.value), else_=Delivery.status),
            finished_at=case((_IS_WAITING, clock.utcnow()), else_=Delivery.finished_at),
            withdrawn=case((is_sending, true()), else_=Delivery.withdrawn),
            recipient=ERASED,
            recipient_key=ERASED,
        ),
    )


def retry(session: Session, notification_id: UUID, *, expires_at: datetime) -> bool:
    """Queue what failed or expired again, due now; tell whether anything was. The attempts count on.

    Whoever was erased, and what has no content any more, is left as it is.
    """
    has_content = exists().where(Content.notification_id == notification_id)
    return bool(
        _count(
            session,
            update(Delivery)
            .where(
                Delivery.notification_id == notification_id,
                Delivery.status.in_([DeliveryStatus.FAILED, DeliveryStatus.EXPIRED]),
                Delivery.recipient_key != ERASED,
                has_content,
            )
            .values(
                status=DeliveryStatus.QUEUED,
                due_at=clock.utcnow(),
                expires_at=expires_at,
                finished_at=None,
                lapses=0,
                withdrawn=False,
            ),
        )
    )


def reschedule(session: Session, notification_id: UUID, *, due_at: datetime, expires_at: datetime) -> bool:
    """Move what waits to another time, if nothing of the notification was tried yet; tell whether that is done.

    False also if a claim took some of the rows meanwhile: then the caller must not commit.
    """
    tried = or_(_Other.attempts > 0, _Other.status.not_in([DeliveryStatus.QUEUED, *_UNTRIED]))
    queued = and_(Delivery.notification_id == notification_id, Delivery.status == DeliveryStatus.QUEUED)
    moved = _count(
        session,
        update(Delivery)
        .where(queued, not_(_some(notification_id, tried)))
        .values(due_at=due_at, expires_at=expires_at),
    )
    open_ = select(func.count()).where(Delivery.notification_id == notification_id, Delivery.finished_at.is_(None))
    return moved > 0 and moved == session.scalar(open_)


def _some(notification_id: UUID, condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return whether a delivery of the notification, seen as `_Other`, meets the condition."""
    return exists().where(_Other.notification_id == notification_id, condition)


def _count(session: Session, statement: Update) -> int:
    changed = statement.returning(Delivery.id).execution_options(synchronize_session=False)
    return len(session.execute(changed).all())
