"""The tables: columns, constraints and indexes. No queries."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, LargeBinary, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from api.core import clock, status
from api.core.db import Base, Instant, JSONValue, word
from schemas.vocabulary import DeliveryStatus, Mode, NotificationStatus, Outcome, Phase, RecipientKind, TransportState

#: An open delivery has no end yet. Spelled as IS NULL, because SQLite uses a partial index only for a
#: condition that it can prove without knowing the bound parameters.
_OPEN = text("finished_at IS NULL")
#: The id of the key that the operator's own shell and command line act by.
OPERATOR = UUID(int=0)
#: What waits is in nobody's hands: an index of the few that are held costs an accept nothing, and a claim one entry.
_TAKEN = text("holder IS NOT NULL")


def _index_where_given(table: str, column: str) -> Index:
    """Return the index of a column that is null in many rows, which then cost an accept nothing here."""
    given = text(f"{column} IS NOT NULL")
    return Index(f"ix_{table}_{column}", column, sqlite_where=given, postgresql_where=given)


class ApiKey(Base):
    """A caller's key: only its SHA-256 digest is kept, and four characters to tell it by.

    `origins` and `templates` are those of a browser key, which has no scopes; any other key has neither.
    """

    __tablename__ = "api_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    hint: Mapped[str] = mapped_column(String(4))
    mode: Mapped[Mode] = mapped_column(word(Mode))
    scopes: Mapped[list[str]] = mapped_column(JSONValue)
    origins: Mapped[list[str] | None] = mapped_column(JSONValue)
    templates: Mapped[list[str] | None] = mapped_column(JSONValue)
    created_at: Mapped[datetime] = mapped_column(Instant)
    revoked_at: Mapped[datetime | None] = mapped_column(Instant)

    @property
    def is_browser(self) -> bool:
        """Whether it stands in pages for everybody to read."""
        return self.origins is not None

    @property
    def is_operator(self) -> bool:
        """Whether it is the one that stands in no table (see `core.keys.operator`)."""
        return self.id == OPERATOR


class User(Base):
    """A registered user; `username_key` and `email_key` are what uniqueness compares, without case."""

    __tablename__ = "users"
    __table_args__ = (
        Index("uq_users_username", "mode", "username_key", unique=True),
        Index("uq_users_email", "mode", "email_key", unique=True),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    mode: Mapped[Mode] = mapped_column(word(Mode))
    username: Mapped[str] = mapped_column(String(64))
    username_key: Mapped[str] = mapped_column(String(256))
    email: Mapped[str] = mapped_column(String(254))
    email_key: Mapped[str] = mapped_column(String(254))
    name: Mapped[str | None] = mapped_column(String(200))
    locale: Mapped[str | None] = mapped_column(String(35))
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", JSONValue)
    #: The key that registered it.
    registered_by: Mapped[UUID | None]
    #: Rises with each change: the ETag, and what an update compares.
    version: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(Instant)
    updated_at: Mapped[datetime] = mapped_column(Instant)


class Notification(Base):
    """A message as accepted; its status is that of its deliveries and stands in no column."""

    __tablename__ = "notifications"
    __table_args__ = (
        Index("ix_notifications_mode_id", "mode", "id"),
        Index("ix_notifications_purge", "id", sqlite_where=text("purge = 1"), postgresql_where=text("purge")),
        *(_index_where_given("notifications", name) for name in ("batch_id", "template_name", "user_id")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    mode: Mapped[Mode] = mapped_column(word(Mode))
    created_at: Mapped[datetime] = mapped_column(Instant)
    send_at: Mapped[datetime | None] = mapped_column(Instant)
    expires_at: Mapped[datetime | None] = mapped_column(Instant)
    batch_id: Mapped[UUID | None]
    template_name: Mapped[str | None] = mapped_column(String(64))
    template_version: Mapped[str | None] = mapped_column(String(64))
    subject: Mapped[str | None] = mapped_column(Text)
    message_id: Mapped[str] = mapped_column(String(998))
    tags: Mapped[list[str]] = mapped_column(JSONValue)
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", JSONValue)
    #: Whom it is about; set to null when that user is erased.
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    #: The content goes as soon as no delivery needs it any more.
    purge: Mapped[bool] = mapped_column(default=False)

    deliveries: Mapped[list["Delivery"]] = relationship(order_by="Delivery.position", lazy="raise")

    @property
    def status(self) -> NotificationStatus:
        """That of its deliveries, which must be loaded."""
        return status.of((delivery.status for delivery in self.deliveries), send_at=self.send_at, now=clock.utcnow())

    @property
    def finished_at(self) -> datetime | None:
        """When the last recipient was finished; None while one is open."""
        ends = [delivery.finished_at for delivery in self.deliveries if delivery.finished_at is not None]
        return max(ends) if ends and len(ends) == len(self.deliveries) else None


class Content(Base):
    """What the bytes of a notification's mail are made from; gone once purged."""

    __tablename__ = "contents"

    notification_id: Mapped[UUID] = mapped_column(ForeignKey("notifications.id", ondelete="CASCADE"), primary_key=True)
    sender_email: Mapped[str] = mapped_column(String(254))
    sender_name: Mapped[str | None] = mapped_column(Text)
    #: `{"to": [[email, name]], "cc": […], "reply_to": […], "extra": [[name, value]]}`
    headers: Mapped[dict[str, Any]] = mapped_column(JSONValue)
    text: Mapped[str | None] = mapped_column(Text)
    html: Mapped[str | None] = mapped_column(Text)
    #: Bytes of the files beside it (see `core.attachments`), so that only who has some is asked for them.
    attached: Mapped[int] = mapped_column(default=0)


class Tag(Base):
    """A notification's tag, for finding notifications by it."""

    __tablename__ = "tags"
    __table_args__ = (Index("ix_tags_tag", "tag", "notification_id"),)

    notification_id: Mapped[UUID] = mapped_column(ForeignKey("notifications.id", ondelete="CASCADE"), primary_key=True)
    tag: Mapped[str] = mapped_column(String(64), primary_key=True)


class Delivery(Base):
    """One envelope recipient of a notification: the outbox's unit of work (see `core.outbox`)."""

    __tablename__ = "deliveries"
    __table_args__ = (
        Index("ix_deliveries_due", "transport", "due_at", sqlite_where=_OPEN, postgresql_where=_OPEN),
        Index("ix_deliveries_expiry", "expires_at", sqlite_where=_OPEN, postgresql_where=_OPEN),
        Index("ix_deliveries_holder", "holder", sqlite_where=_TAKEN, postgresql_where=_TAKEN),
        Index("ix_deliveries_recipient", "recipient_key", "notification_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    notification_id: Mapped[UUID] = mapped_column(ForeignKey("notifications.id", ondelete="CASCADE"), index=True)
    position: Mapped[int]
    kind: Mapped[RecipientKind] = mapped_column(word(RecipientKind))
    recipient: Mapped[str] = mapped_column(String(254))
    recipient_key: Mapped[str] = mapped_column(String(254))
    transport: Mapped[str] = mapped_column(String(32))
    status: Mapped[DeliveryStatus] = mapped_column(word(DeliveryStatus))
    #: Send time, retry time and lease end in one: when the row may be claimed.
    due_at: Mapped[datetime] = mapped_column(Instant)
    expires_at: Mapped[datetime] = mapped_column(Instant)
    attempts: Mapped[int] = mapped_column(default=0)
    #: Who holds the row and by which claim; the claim's token fences every later write.
    holder: Mapped[UUID | None]
    token: Mapped[UUID | None]
    #: The holder was let into DATA: if it dies now, the relay may have the message.
    handed: Mapped[bool] = mapped_column(default=False)
    #: Leases in a row that ended without a result.
    lapses: Mapped[int] = mapped_column(default=0)
    possible_duplicate: Mapped[bool] = mapped_column(default=False)
    #: Asked for while the row was being sent: take it back instead of trying again.
    withdrawn: Mapped[bool] = mapped_column(default=False)
    finished_at: Mapped[datetime | None] = mapped_column(Instant)

    history: Mapped[list["Attempt"]] = relationship(order_by="Attempt.id", lazy="raise")


class Attempt(Base):
    """One try at a delivery and the relay's answer to it."""

    __tablename__ = "attempts"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    delivery_id: Mapped[UUID] = mapped_column(ForeignKey("deliveries.id", ondelete="CASCADE"), index=True)
    at: Mapped[datetime] = mapped_column(Instant)
    transport: Mapped[str] = mapped_column(String(32))
    outcome: Mapped[Outcome] = mapped_column(word(Outcome))
    phase: Mapped[Phase] = mapped_column(word(Phase))
    code: Mapped[int | None]
    enhanced_code: Mapped[str | None] = mapped_column(String(12))
    reply: Mapped[str] = mapped_column(Text)
    duration_ms: Mapped[int]


class Transport(Base):
    """What the dispatchers know of a relay, for everybody to read."""

    __tablename__ = "transports"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    state: Mapped[TransportState] = mapped_column(word(TransportState))
    since: Mapped[datetime] = mapped_column(Instant)
    next_probe_at: Mapped[datetime | None] = mapped_column(Instant)
    error_at: Mapped[datetime | None] = mapped_column(Instant)
    error_phase: Mapped[Phase | None] = mapped_column(word(Phase))
    error_code: Mapped[int | None]
    error_reply: Mapped[str | None] = mapped_column(Text)


class Dispatcher(Base):
    """A dispatcher and its last sign of life: what `/readyz` and the recovery of its rows go by."""

    __tablename__ = "dispatchers"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int]
    #: See `core.dispatchers.Drive`.
    drive: Mapped[str] = mapped_column(String(16))
    started_at: Mapped[datetime] = mapped_column(Instant)
    seen_at: Mapped[datetime] = mapped_column(Instant)


class Capture(Base):
    """A mail in the captured inbox: what the embedded relay and test keys caught."""

    __tablename__ = "captures"
    __table_args__ = (Index("ix_captures_mode_id", "mode", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    mode: Mapped[Mode] = mapped_column(word(Mode))
    received_at: Mapped[datetime] = mapped_column(Instant)
    sender: Mapped[str] = mapped_column(String(254))
    recipients: Mapped[list[str]] = mapped_column(JSONValue)
    subject: Mapped[str] = mapped_column(Text)
    raw: Mapped[bytes] = mapped_column(LargeBinary)
