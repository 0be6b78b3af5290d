"""A notification's status is that of its deliveries: how one word is made of many."""

from collections.abc import Iterable
from datetime import datetime

from schemas.vocabulary import OPEN, DeliveryStatus, NotificationStatus

#: Least finished first.
OPEN_ORDER = tuple(status for status in DeliveryStatus if status in OPEN)


def of(statuses: Iterable[DeliveryStatus], *, send_at: datetime | None, now: datetime) -> NotificationStatus:
    """Return the least finished status while a recipient is open, then the common one, or `partial`."""
    found = set(statuses)
    waiting = [status for status in OPEN_ORDER if status in found]
    if waiting and send_at is not None and send_at > now:
        return NotificationStatus.SCHEDULED
    if waiting:
        return NotificationStatus(waiting[0].value)
    return NotificationStatus(found.pop().value) if len(found) == 1 else NotificationStatus.PARTIAL
