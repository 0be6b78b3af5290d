"""The files of notifications: stored once each, however many recipients there are."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, LargeBinary, String, delete, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.core import claim
from api.core.db import Base


class Attachment(Base):
    """A file of a notification; goes with its content."""

    __tablename__ = "attachments"

    notification_id: Mapped[UUID] = mapped_column(ForeignKey("notifications.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    filename: Mapped[str] = mapped_column(String(255))
    content_type: Mapped[str] = mapped_column(String(255))
    content_id: Mapped[str | None] = mapped_column(String(64))
    size: Mapped[int]
    content: Mapped[bytes] = mapped_column(LargeBinary)


def rows(notification_id: UUID, files: Collection[claim.Attachment]) -> list[dict[str, Any]]:
    """Return the column values of a notification's files."""
    return [
        {
            "notification_id": notification_id,
            "position": position,
            "filename": file.filename,
            "content_type": file.content_type,
            "content_id": file.content_id,
            "size": len(file.content),
            "content": file.content,
        }
        for position, file in enumerate(files)
    ]


def load(session: Session, notification_ids: Collection[UUID]) -> dict[UUID, tuple[claim.Attachment, ...]]:
    """Return the files of these notifications, in their order; who has none is missing from the answer."""
    found: dict[UUID, list[claim.Attachment]] = {}
    columns = (Attachment.filename, Attachment.content_type, Attachment.content, Attachment.content_id)
    for id_ in notification_ids:  # one by one, so that the driver holds the bytes of no more than one
        query = select(*columns).where(Attachment.notification_id == id_).order_by(Attachment.position)
        found[id_] = [claim.Attachment(*row) for row in session.execute(query)]
    return {id_: tuple(files) for id_, files in found.items() if files}


def describe(session: Session, notification_id: UUID) -> list[dict[str, Any]]:
    """Return what is known of a notification's files without reading their bytes."""
    columns = (Attachment.filename, Attachment.content_type, Attachment.size, Attachment.content_id)
    query = select(*columns).where(Attachment.notification_id == notification_id).order_by(Attachment.position)
    return [dict(row) for row in session.execute(query).mappings()]


def purge(session: Session, notification_ids: Collection[UUID]) -> None:
    """Delete the files of these notifications."""
    session.execute(delete(Attachment).where(Attachment.notification_id.in_(notification_ids)))
