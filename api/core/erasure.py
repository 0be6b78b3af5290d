"""Erasing a person's data: addresses, contents and replies go, rows and counts stay."""

from functools import partial
from uuid import UUID

from sqlalchemy import ColumnElement, Text, cast, delete, exists, func, or_, select, true, update
from sqlalchemy.orm import Session

from api.core import addresses, contents, receipts, steering, transports
from api.core.db import transact
from api.core.errors import NotFound
from api.core.models import Attempt, Capture, Delivery, Notification
from api.core.receipts import Receipt
from api.core.steering import ERASED
from schemas.vocabulary import Mode

#: Contents that one purge deletes at most: it holds up all other writers.
PURGED_AT_ONCE = 500


def erase(session: Session, *, mode: Mode, mailbox: str, user_id: UUID | None = None) -> None:
    """Cancel what waits for this mailbox, erase it everywhere, and let go of contents once nobody needs them.

    A message to others as well is still sent to them; its content goes when the last of them is finished.
    """
    to_them = (Delivery.recipient_key == mailbox) & (Delivery.transport == transports.of(mode))
    theirs = select(Delivery.notification_id).where(to_them)
    # This comes first, as it locks: whoever tries one of them again has done so by now, or will find it marked.
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
    _forget_replies(session, to_them)
    session.execute(delete(Capture).where(Capture.mode == mode, _received_by(mailbox)))
    # What was accepted for them since is not marked, and is none of what was to be erased.
    is_marked = exists().where(Notification.id == Delivery.notification_id, Notification.purge.is_(true()))
    steering.erase(session, to_them & is_marked)
    purge(session)


def erase_recipient(email: str, *, mode: Mode) -> None:
    """Erase the data of whoever has this address, known or not. Raises NotFound for what is no address, Unavailable."""
    try:
        mailbox = addresses.key(addresses.normalise(email))
    except ValueError:
        raise NotFound("This is not an address.") from None
    transact(partial(erase, mode=mode, mailbox=mailbox))


def purge(session: Session) -> None:
    """Delete contents that are marked to go and that no open delivery needs, up to `PURGED_AT_ONCE`."""
    is_open = exists().where(Delivery.notification_id == Notification.id, Delivery.finished_at.is_(None))
    marked = select(Notification.id).where(Notification.purge.is_(true()), ~is_open)
    ready = session.scalars(marked.limit(PURGED_AT_ONCE).with_for_update(skip_locked=True)).all()
    if not ready:
        return
    # What was being sent to them while they were erased may have brought a reply that names them.
    _forget_replies(session, Delivery.notification_id.in_(ready) & (Delivery.recipient_key == ERASED))
    contents.purge(session, ready)
    session.execute(
        update(Notification)
        .where(Notification.id.in_(ready))
        .values(purge=False, subject=None)
        .execution_options(synchronize_session=False)
    )


def _forget_replies(session: Session, deliveries: ColumnElement[bool]) -> None:
    session.execute(
        update(Attempt)
        .where(Attempt.delivery_id.in_(select(Delivery.id).where(deliveries)))
        .values(reply=ERASED)
        .execution_options(synchronize_session=False)
    )


def _received_by(mailbox: str) -> ColumnElement[bool]:
    """Return the condition that a captured mail went to this mailbox; the recipients are a JSON list of addresses."""
    return func.lower(cast(Capture.recipients, Text)).contains(f'"{mailbox}"', autoescape=True)
