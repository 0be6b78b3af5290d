"""Frozen content between the table and the value that a message is assembled from."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import Select, delete, func, select
from sqlalchemy.orm import Session

from api.core import attachments, claim
from api.core.models import Content, Notification


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


def load(session: Session, notification_ids: Collection[UUID]) -> dict[UUID, claim.Content]:
    """Return the frozen contents of these notifications; a purged one is missing from the answer."""
    if not notification_ids:
        return {}
    rows = session.execute(
        select(
            Content.notification_id,
            Content.sender_email,
            Content.sender_name,
            Content.headers,
            Content.text,
            Content.html,
            Content.attached,
            Notification.subject,
            Notification.message_id,
            Notification.created_at,
        )
        .join(Notification, Notification.id == Content.notification_id)
        .where(Content.notification_id.in_(notification_ids))
    ).all()
    files = attachments.load(session, [row.notification_id for row in rows if row.attached])
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
    }


def weights(session: Session, notification_ids: Collection[UUID]) -> dict[UUID, int]:
    """Return how many bytes of files go with these notifications; who has none is missing from the answer."""
    heavy = select(Content.notification_id, Content.attached).where(
        Content.notification_id.in_(notification_ids), Content.attached > 0
    )
    return {row.notification_id: row.attached for row in session.execute(heavy)}


def weight(session: Session, notification_ids: Select[UUID]) -> int:
    """Return how many bytes of files go with all the notifications that a query finds."""
    return session.scalar(select(func.sum(Content.attached)).where(Content.notification_id.in_(notification_ids))) or 0


def purge(session: Session, notification_ids: Collection[UUID]) -> None:
    """Delete the contents of these notifications, with their files."""
    attachments.purge(session, notification_ids)
    session.execute(delete(Content).where(Content.notification_id.in_(notification_ids)))


def _addresses(pairs: list[list[str | None]]) -> tuple[claim.Address, ...]:
    return tuple(claim.Address(str(email), name) for email, name in pairs)
