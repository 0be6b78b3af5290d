"""Finding notifications by what they are and how they stand."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, and_, exists, func, not_, select

from api.core import addresses, clock, notifications, paging, status
from api.core.models import ApiKey, Delivery, Notification, Tag
from schemas.vocabulary import FINISHED, DeliveryStatus, NotificationStatus


def find(
    *,
    key: ApiKey,
    limit: int = 50,
    after: str | None = None,
    wanted: NotificationStatus | None = None,
    recipient: str | None = None,
    template: str | None = None,
    tag: str | None = None,
    batch_id: UUID | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> paging.Page[Notification]:
    """Return notifications, newest first, that match all that is given; times are of creation. Raises BadCursor."""
    query = notifications.whole().where(Notification.mode == key.mode)
    if wanted is not None:
        query = query.where(_has_status(wanted, clock.utcnow()))
    if recipient is not None:
        mailbox = addresses.key(_known_form(recipient))
        query = query.where(
            exists().where(Delivery.notification_id == Notification.id, Delivery.recipient_key == mailbox)
        )
    if template is not None:
        query = query.where(Notification.template_name == template)
    if tag is not None:
        query = query.where(exists().where(Tag.notification_id == Notification.id, Tag.tag == tag))
    if batch_id is not None:
        query = query.where(Notification.batch_id == batch_id)
    if since is not None:
        query = query.where(Notification.created_at >= since)
    if until is not None:
        query = query.where(Notification.created_at < until)
    return paging.page(query, Notification.id, limit=limit, after=after, kind="notifications")


def _known_form(address: str) -> str:
    """Return an address as deliveries hold it; what is none is looked for as it is, and not found."""
    try:
        return addresses.normalise(address)
    except ValueError:
        return address


def _has_status(wanted: NotificationStatus, now: datetime) -> ColumnElement[bool]:
    """Return the condition that `status.of` would say `wanted`."""
    ahead = and_(Notification.send_at.is_not(None), Notification.send_at > now)
    if wanted is NotificationStatus.SCHEDULED:
        return and_(ahead, _some(*status.OPEN_ORDER))
    if wanted is NotificationStatus.PARTIAL:
        kinds = select(func.count(Delivery.status.distinct())).where(Delivery.notification_id == Notification.id)
        return and_(not_(_some(*status.OPEN_ORDER)), kinds.scalar_subquery() > 1)
    word = DeliveryStatus(wanted.value)
    if word in FINISHED:
        return and_(_some(word), not_(_some(*(other for other in DeliveryStatus if other is not word))))
    before = status.OPEN_ORDER[: status.OPEN_ORDER.index(word)]
    less = [not_(_some(*before))] if before else []
    return and_(_some(word), not_(func.coalesce(ahead, False)), *less)


def _some(*statuses: DeliveryStatus) -> ColumnElement[bool]:
    return exists().where(Delivery.notification_id == Notification.id, Delivery.status.in_(statuses))
