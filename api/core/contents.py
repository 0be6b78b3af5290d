"""Frozen content between the table and the value that a message is assembled from."""

from collections.abc import Collection
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Table, bindparam, delete, select
from sqlalchemy.orm import Session

from api.core import claim
from api.core.models import Content, Notification

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
    }


def load(session: Session, notification_ids: Collection[UUID]) -> dict[UUID, claim.Content]:
    """Return the frozen contents of these notifications; a purged one is missing from the answer."""
    if not notification_ids:
        return {}
    rows = session.connection().execute(_LOAD, {"ids": list(notification_ids)})
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
        )
        for row in rows
    }


def purge(session: Session, notification_ids: Collection[UUID]) -> None:
    """Delete the contents of these notifications."""
    session.execute(delete(Content).where(Content.notification_id.in_(notification_ids)))


def _addresses(pairs: list[list[str | None]]) -> tuple[claim.Address, ...]:
    return tuple(claim.Address(str(email), name) for email, name in pairs)
