"""What a caller may still do with a notification that was accepted: call it off, move it, try it again, read it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NoReturn
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from api.core import attachments, clock, notifications, policy, simulator, steering, timing
from api.core.db import db, transact
from api.core.errors import Conflict, FieldError, Gone, Invalid, NotFound, StaleVersion
from api.core.models import ApiKey, Content, Notification
from schemas.vocabulary import DeliveryStatus


@dataclass(frozen=True, slots=True)
class Frozen:
    """What is sent, as it was when the message was accepted; `attachments` tell of the files without their bytes."""

    subject: str
    text: str | None
    html: str | None
    attachments: list[dict[str, Any]]


def content(notification_id: UUID, *, key: ApiKey) -> Frozen:
    """Return a notification's content. Raises NotFound, and Gone once it is purged or marked to be."""
    notification = notifications.get(notification_id, key=key)
    found = db.session.execute(
        select(Content.text, Content.html).where(Content.notification_id == notification_id)
    ).first()
    if found is None or notification.purge or notification.subject is None:
        raise Gone
    files = attachments.describe(db.session(), notification_id)
    return Frozen(notification.subject, found.text, found.html, files)


def cancel(notification_id: UUID, *, key: ApiKey) -> Notification:
    """Cancel what waits. Raises NotFound, and Conflict once the notification's status is `sending` or a final one."""

    def work(session: Session) -> None:
        notification = _locked(session, notification_id, key)
        if not steering.cancel(session, notification_id):
            _refuse(notification, "cancelled")

    transact(work)
    return notifications.get(notification_id, key=key)


def retry(notification_id: UUID, *, key: ApiKey) -> Notification:
    """Queue the recipients again that failed or expired, for as long as a new message would be tried.

    Raises NotFound, Conflict if there are none or the time that the caller gave is over, Gone once the content is
    purged.
    """

    def work(session: Session) -> None:
        notification = _locked(session, notification_id, key)
        now = clock.utcnow()
        if not any(one.status in (DeliveryStatus.FAILED, DeliveryStatus.EXPIRED) for one in notification.deliveries):
            _refuse(notification, "tried again")
        if notification.purge or session.get(Content, notification_id) is None:
            raise Gone
        if notification.expires_at is not None and notification.expires_at <= now:
            raise Conflict("The time that it was to be sent by, expires_at, is over.")
        until = timing.end(now, expires_at=notification.expires_at, give_up=_patience(notification))
        if not steering.retry(session, notification_id, expires_at=until):
            _refuse(notification, "tried again")

    transact(work)
    notifications.nudge()
    return notifications.get(notification_id, key=key)


def reschedule(
    notification_id: UUID,
    *,
    key: ApiKey,
    send_at: datetime | None,
    is_current: Callable[[Notification], bool] = lambda _notification: True,
) -> Notification:
    """Send what was not tried yet at another time, None for now.

    Raises NotFound, StaleVersion unless `is_current` says that it is what the caller has seen, Conflict once anything
    of it was tried, Invalid.
    """

    def work(session: Session) -> None:
        notification = _locked(session, notification_id, key)
        if not is_current(notification):
            raise StaleVersion
        plan = _moved(notification, send_at)
        if not steering.reschedule(session, notification_id, due_at=plan.due_at, expires_at=plan.ends_at):
            _refuse(notification, "rescheduled")
        session.execute(
            update(Notification)
            .where(Notification.id == notification_id)
            .values(send_at=send_at)
            .execution_options(synchronize_session=False)
        )

    transact(work)
    notifications.nudge()
    return notifications.get(notification_id, key=key)


def _locked(session: Session, notification_id: UUID, key: ApiKey) -> Notification:
    """Return the notification as it is, and keep others from steering or purging it meanwhile. Raises NotFound."""
    wanted = notifications.whole().where(Notification.id == notification_id, Notification.mode == key.mode)
    found = session.scalar(wanted.with_for_update(of=Notification))
    if found is None:
        raise NotFound
    return found


def _moved(notification: Notification, send_at: datetime | None) -> timing.Plan:
    """Return the plan of a notification that is to be sent at another time. Raises Invalid, Conflict."""
    now = clock.utcnow()
    if notification.expires_at is not None and notification.expires_at <= max(now, send_at or now):
        if send_at is None or send_at <= now:
            raise Conflict("The time that it was to be sent by, expires_at, is over.")
        raise Invalid(errors=[FieldError("/send_at", "Must be before expires_at.", "out_of_range")])
    return timing.plan(send_at=send_at, expires_at=notification.expires_at, now=now, give_up=_patience(notification))


def _patience(notification: Notification) -> timedelta:
    """Return the age at which what is tried anew expires."""
    recipients = (one.recipient for one in notification.deliveries)
    return simulator.give_up(recipients, mode=notification.mode, otherwise=policy.current().schedule.give_up)


def _refuse(notification: Notification, verb: str) -> NoReturn:
    finished = all(one.finished_at is not None for one in notification.deliveries)
    raise Conflict(f"It cannot be {verb}: it is {'finished, ' if finished else ''}{notification.status}.")
