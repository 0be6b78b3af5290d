"""The estate: what a dead dispatcher leaves in the outbox, and who gets it. Runs inside `db.transact`."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import and_, select, update
from sqlalchemy.orm import Session

from api.core import clock
from api.core.models import Delivery
from api.core.outbox import SUSPICION, UNCLAIMED, touched
from schemas.vocabulary import DeliveryStatus


def suspect(session: Session, holder: UUID) -> None:
    """Note of all that a dead holder was sending that it may have been let into DATA."""
    touched(
        session, update(Delivery).where(Delivery.finished_at.is_(None), Delivery.holder == holder).values(handed=True)
    )


def recover(session: Session, holders: Collection[UUID]) -> int:
    """Let the deliveries of dead holders fall due now, whatever their leases say; return how many."""
    now = clock.utcnow()
    return touched(
        session,
        update(Delivery)
        .where(Delivery.finished_at.is_(None), Delivery.holder.in_(holders), Delivery.due_at > now)
        .values(due_at=now),
    )


def spare(session: Session, holder: UUID, *, most: int) -> int:
    """Give back what a dead holder cannot have begun, as if it had not been claimed; return how many those are.

    None of them is what killed it. To be called once those that were let into DATA are noted. Claims are taken up in
    the order in which they fell to the holder: the first `most` of the others, a few for each of its senders, may
    have been taken up, too.
    """
    mine = and_(
        Delivery.finished_at.is_(None),
        Delivery.holder == holder,
        Delivery.status == DeliveryStatus.SENDING,
        Delivery.handed.is_(False),
    )
    taken = select(Delivery.id).where(mine).order_by(Delivery.due_at, *SUSPICION, Delivery.id).limit(most)
    suspects = session.scalars(taken).all()
    spared = update(Delivery).where(mine, Delivery.id.not_in(suspects))
    return touched(session, spared.values(**UNCLAIMED, due_at=clock.utcnow()))
