"""Erasing a person's data: addresses, contents and replies go, rows and counts stay."""

from uuid import UUID

from sqlalchemy import delete, exists, or_, select, true, update
from sqlalchemy.orm import Session

from api.core import outbox, receipts, transports
from api.core.models import Attempt, Content, Delivery, Notification
from api.core.receipts import Receipt
from schemas.vocabulary import Mode

#: Stands where an erased address stood; not an address, so that nothing can be sent to it.
ERASED = "[erased]"


def erase(session: Session, *, mode: Mode, mailbox: str, user_id: UUID | None = None) -> None:
    """Cancel what waits for this mailbox, erase it everywhere, and let go of contents once nobody needs them.

    A message to others as well is still sent to them; its content goes when the last of them is finished.
    """
    to_them = (Delivery.recipient_key == mailbox) & (Delivery.transport == transports.of(mode))
    outbox.withdraw(session, to_them)
    theirs = select(Delivery.notification_id).where(to_them)
    session.execute(
        update(Notification)
        .where(
            or_(Notification.id.in_(theirs), Notification.user_id == user_id if user_id else Notification.id.is_(None))
        )
        .values(purge=True, metadata_={})
        .execution_options(synchronize_session=False)
    )
    told = [Receipt.subject_id.in_(theirs)] + ([Receipt.subject_id == user_id] if user_id else [])
    receipts.erase(session, or_(*told))
    session.execute(
        update(Attempt)
        .where(Attempt.delivery_id.in_(select(Delivery.id).where(to_them)))
        .values(reply=ERASED)
        .execution_options(synchronize_session=False)
    )
    session.execute(
        update(Delivery)
        .where(to_them)
        .values(recipient=ERASED, recipient_key=ERASED)
        .execution_options(synchronize_session=False)
    )
    purge(session)


def purge(session: Session) -> None:
    """Delete the contents that are marked to go and that no open delivery needs."""
    is_open = exists().where(Delivery.notification_id == Notification.id, Delivery.finished_at.is_(None))
    ready = session.scalars(select(Notification.id).where(Notification.purge.is_(true()), ~is_open)).all()
    if not ready:
        return
    session.execute(delete(Content).where(Content.notification_id.in_(ready)))
    session.execute(
        update(Notification)
        .where(Notification.id.in_(ready))
        .values(purge=False, subject=None)
        .execution_options(synchronize_session=False)
    )
