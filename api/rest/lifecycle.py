"""The views of what may be done with one notification after it was accepted; they stand under /v1/notifications."""

from typing import Any
from uuid import UUID

from flask import g

from api.core import lifecycle
from api.rest import examples, preconditions
from api.rest.notifications import blp, followed, represented, shown
from schemas.notifications import ContentOut, NotificationChange, NotificationOut
from schemas.vocabulary import Scope

_CANCELLED = {
    **examples.QUEUED,
    "status": "cancelled",
    "finished_at": "2027-01-01T09:00:01.000Z",
    "deliveries": [{**examples.QUEUED["deliveries"][0], "status": "cancelled", "next_attempt_at": None}],
}
_LATER = {"send_at": "2027-01-01T12:00:00Z"}
_SCHEDULED = {
    **examples.QUEUED,
    "status": "scheduled",
    "send_at": "2027-01-01T12:00:00.000Z",
    "deliveries": [{**examples.QUEUED["deliveries"][0], "next_attempt_at": "2027-01-01T12:00:00.000Z"}],
}
_CONTENT = {
    "subject": "Your invoice",
    "text": "The invoice is attached.\n",
    "html": None,
    "attachments": [
        {"filename": "invoice.pdf", "content_type": "application/pdf", "size": 9, "content_id": None},
    ],
}


@blp.operation("PATCH", "/<uuid:notification_id>", id="reschedule_notification", scope=Scope.NOTIFICATIONS_WRITE)
@blp.body(NotificationChange(), examples={"Later": _LATER, "Now": {"send_at": None}})
@blp.answers(200, NotificationOut(), example=_SCHEDULED, headers=("ETag",))
@blp.fails(409, 412)
def reschedule(body: dict[str, Any], notification_id: UUID) -> Any:
    """Send a notification at another time.

    409 once anything of it was tried or all of it is cancelled. With `If-Match`, 412 if it has changed since.
    """
    notification = lifecycle.reschedule(
        notification_id,
        key=g.key,
        send_at=body["send_at"],
        is_current=lambda notification: preconditions.is_wanted(represented(notification)),
    )
    return shown(notification), {"ETag": f'"{preconditions.digest(represented(notification))}"'}


@blp.operation("POST", "/<uuid:notification_id>/cancel", id="cancel_notification", scope=Scope.NOTIFICATIONS_WRITE)
@blp.answers(200, NotificationOut(), example=_CANCELLED)
@blp.fails(409)
def cancel(notification_id: UUID) -> Any:
    """Cancel what waits of a notification.

    409 once its status is `sending` or a final one. While the status is `scheduled`, `queued` or `deferred`, the
    recipients that wait are cancelled; the answer tells who was sent to before, or is being sent to, and has to be read
    for that.
    """
    return shown(lifecycle.cancel(notification_id, key=g.key))


@blp.operation("POST", "/<uuid:notification_id>/retry", id="retry_notification", scope=Scope.NOTIFICATIONS_WRITE)
@blp.answers(
    202,
    NotificationOut(),
    description="Queued again. `Location` is the status resource.",
    example=examples.QUEUED,
    headers=("Location", "Retry-After"),
)
@blp.fails(409, 410)
def retry(notification_id: UUID) -> Any:
    """Try again to send to the recipients that failed or expired.

    They are tried at once, and then for as long as those of a new message would be. 409 if there are none, or if
    `expires_at` is over; 410 once the content is purged.
    """
    notification = lifecycle.retry(notification_id, key=g.key)
    return shown(notification), followed(notification)


@blp.operation("GET", "/<uuid:notification_id>/content", id="get_content", scope=Scope.NOTIFICATIONS_READ)
@blp.answers(200, ContentOut(), example=_CONTENT)
@blp.fails(410)
def content(notification_id: UUID) -> Any:
    """Show what is sent: the content as it was frozen.

    410 once it is purged, as the operator's retention or an erasure has it.
    """
    return lifecycle.content(notification_id, key=g.key)
