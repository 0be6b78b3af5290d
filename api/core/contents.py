"""Frozen content between the table and the value that a message is assembled from."""

from collections.abc import Collection, Mapping
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Table, bindparam, delete, func, select
from sqlalchemy.orm import Session

from api.core import attachments, claim, transports
from api.core.models import Content, Delivery, Notification

#: Bytes of files that a dispatcher has in memory at most, but for a single message that is larger.
MAX_ATTACHED = 64 * 1024 * 1024

_CONTENT = cast(Table, Content.__table__).c
_NOTIFICATION = cast(Table, Notification.__table__).c
_LOAD = (
    select(
        _CONTENT.notification_id,
        _CONTENT.sender_email,
        _CONTENT.sender_name,
        _CONTENT.headers,
        _CONTENT.text,
        _CONTENT.html,
        _CONTENT.attached,
        _NOTIFICATION.subject,
        _NOTIFICATION.message_id,
        _NOTIFICATION.created_at,
    )
    .join_from(Content.__table__, Notification.__table__)
    .where(_CONTENT.notification_id.in_(bindparam("ids", expanding=True)))
)


def row(notification_id: UUID, content: claim.Content) -> dict[str, Any]:
    """Return the column values of a content row."""
    return {
        "notification_id": notification_id,
        "sender_email": content.sender.email,
        "sender_name": content.sender.name,
        "headers": {
            "to": [[address.email, address.name] for address in content.to],
            "cc": [[address.email, address.name] for address in content.cc],
            "reply_to": [[address.email, address.name] for address in content.reply_to],
            "extra": [list(header) for header in content.headers],
        },
        "text": content.text,
        "html": content.html,
        "attached": sum(len(file.content) for file in content.attachments),
    }


def load(
    session: Session, notification_ids: Collection[UUID], *, holder: UUID | None = None
) -> dict[UUID, claim.Content]:
    """Return the frozen contents of these notifications; a purged one is missing from the answer.

    So are those for whose files a holder has no room in memory, beside the files of what else it has claimed.
    """
    if not notification_ids:
        return {}
    rows = session.connection().execute(_LOAD, {"ids": list(notification_ids)}).all()
    heavy = {row.notification_id: row.attached for row in rows if row.attached}
    left_out: set[UUID] = set()
    if heavy and holder is not None:
        left_out = set(heavy).difference(_fitting(heavy, _claimed(session, holder, but=notification_ids)))
    files = attachments.load(session, heavy.keys() - left_out)
    return {
        row.notification_id: claim.Content(
            message_id=row.message_id,
            date=row.created_at,
            sender=claim.Address(row.sender_email, row.sender_name),
            to=_addresses(row.headers["to"]),
            cc=_addresses(row.headers["cc"]),
            reply_to=_addresses(row.headers["reply_to"]),
            subject=row.subject or "",
            text=row.text,
            html=row.html,
            headers=tuple((name, value) for name, value in row.headers["extra"]),
            attachments=files.get(row.notification_id, ()),
        )
        for row in rows
        if row.notification_id not in left_out
    }


def purge(session: Session, notification_ids: Collection[UUID]) -> None:
    """Delete the contents of these notifications, with their files."""
    attachments.purge(session, notification_ids)
    session.execute(delete(Content).where(Content.notification_id.in_(notification_ids)))


def _claimed(session: Session, holder: UUID, *, but: Collection[UUID]) -> int:
    """Return how many bytes of files the holder has claimed for the relay, but for some notifications.

    Those of test mail are let go of in the transaction that claims it.
    """
    held = select(Delivery.notification_id).where(
        Delivery.holder == holder,
        Delivery.finished_at.is_(None),
        Delivery.notification_id.not_in(but),
        Delivery.transport != transports.CAPTURE,
    )
    return session.scalar(select(func.sum(Content.attached)).where(Content.notification_id.in_(held))) or 0


def _fitting(weights: Mapping[UUID, int], used: int) -> list[UUID]:
    """Return those for whose bytes there is room; where there is nothing yet, there is room for any one."""
    fitting = []
    for id_ in sorted(weights):
        if used == 0 or used + weights[id_] <= MAX_ATTACHED:
            used += weights[id_]
            fitting.append(id_)
    return fitting


def _addresses(pairs: list[list[str | None]]) -> tuple[claim.Address, ...]:
    return tuple(claim.Address(str(email), name) for email, name in pairs)
