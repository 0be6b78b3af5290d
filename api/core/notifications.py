"""Notifications: accept, find and follow messages."""

from collections.abc import Callable, Sequence
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Select, Table, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, selectinload

from api.core import (
    addresses,
    attachments,
    backlog,
    contents,
    drafts,
    extension,
    frequency,
    ids,
    quotas,
    receipts,
    recipients,
    rows,
    transports,
)
from api.core.attachments import Attachment
from api.core.db import add, db, transact
from api.core.drafts import Draft
from api.core.errors import Conflict, NotFound, TwinRunning
from api.core.models import ApiKey, Content, Delivery, Notification, Tag
from api.core.receipts import Ticket
from api.core.rows import Rows
from schemas.vocabulary import DeliveryStatus, Mode

_NOTIFICATIONS, _CONTENTS, _DELIVERIES, _ATTACHMENTS, _TAGS = (
    cast(Table, model.__table__) for model in (Notification, Content, Delivery, Attachment, Tag)
)


def accept(*, key: ApiKey, ticket: Ticket | None = None, **message: Any) -> Notification:
    """Accept a message for delivery like `post`, and return it as it is stored by then."""
    return get(post(key=key, ticket=ticket, **message).id, key=key)


def post(*, key: ApiKey, ticket: Ticket | None = None, **message: Any) -> Draft:
    """Accept a message for delivery: check, render and freeze it, store it on disk, and wake the dispatcher.

    Takes what `drafts.make` takes, with users as recipients too, and raises what that and `recipients.resolve` raise,
    TwinRunning if the ticket was used meanwhile, TooMany, QueueFull and Unavailable; then nothing is stored. A ticket
    is answered with the draft that is returned.
    """
    waiting = backlog.current()
    waiting.check()
    resolved = recipients.resolve_one(message, mode=key.mode)
    draft = drafts.make(mode=key.mode, **resolved)
    new = [*receipts.rows(ticket, draft, subject=draft.id), *rows_of([draft], mode=key.mode)]
    try:
        with frequency.Counting(key, [draft], frequency.within({"": resolved})) as count:
            _add(new, count)
    except IntegrityError:
        if ticket is not None:
            raise TwinRunning from None
        # A user whom it names was erased a moment ago: now that is told as if they had never been there.
        recipients.resolve_one(message, mode=key.mode)
        raise Conflict from None
    waiting.add(len(draft.recipients))
    nudge()
    return draft


def _add(new: Rows, count: Callable[[Session | None], None]) -> None:
    """Store rows, and count their recipients where that is done: in this process, or in the same transaction."""
    if not quotas.current().in_database:
        count(None)
        add(new)
        return

    def work(session: Session) -> None:
        count(session)
        rows.insert(session.connection(), new)

    transact(work)


def store(session: Session, accepted: Sequence[Draft], *, mode: Mode, batch_id: UUID | None = None) -> None:
    """Add the rows of drafts, one statement for each table: notifications, contents, a delivery per recipient."""
    rows.insert(session.connection(), rows_of(accepted, mode=mode, batch_id=batch_id))
    backlog.current().add(sum(len(draft.recipients) for draft in accepted))


def read(session: Session, ids: Sequence[UUID]) -> list[Notification]:
    """Return these notifications, in this order, as the session's own transaction has them."""
    found = {one.id: one for one in session.scalars(whole().where(Notification.id.in_(ids)))}
    return [found[id_] for id_ in ids]


def nudge() -> None:
    """Wake the dispatcher of this process, if there is one. A hint: losing it costs one poll, never a mail."""
    wake: Callable[[], None] | None = extension.find("postroom.nudge")
    if wake is not None:
        wake()


def get(notification_id: UUID, *, key: ApiKey) -> Notification:
    """Return a notification with its deliveries and their history. Raises NotFound, also for the other mode's."""
    query = whole().where(Notification.id == notification_id, Notification.mode == key.mode)
    found = db.session.scalar(query.execution_options(populate_existing=True))
    if found is None:
        raise NotFound
    return found


def whole() -> Select[Notification]:
    """Return the query of notifications with their deliveries and the history of those."""
    return select(Notification).options(selectinload(Notification.deliveries).selectinload(Delivery.history))


def rows_of(accepted: Sequence[Draft], *, mode: Mode, batch_id: UUID | None = None) -> Rows:
    """Return the rows of drafts."""
    return [
        (_NOTIFICATIONS, [_notification(draft, mode, batch_id) for draft in accepted]),
        (_CONTENTS, [contents.row(draft.id, draft.content) for draft in accepted]),
        (_DELIVERIES, [row for draft in accepted for row in _deliveries(draft, mode)]),
        (_ATTACHMENTS, [row for draft in accepted for row in attachments.rows(draft.id, draft.content.attachments)]),
        (_TAGS, [{"notification_id": draft.id, "tag": tag} for draft in accepted for tag in draft.tags]),
    ]


def _notification(draft: Draft, mode: Mode, batch_id: UUID | None) -> dict[str, Any]:
    return {
        "id": draft.id,
        "mode": mode,
        "created_at": draft.created_at,
        "send_at": draft.plan.send_at,
        "expires_at": draft.plan.expires_at,
        "batch_id": batch_id,
        "template_name": draft.template_name,
        "template_version": draft.template_version,
        "subject": draft.content.subject,
        "message_id": draft.content.message_id,
        "tags": list(draft.tags),
        "metadata": dict(draft.metadata),
        "user_id": draft.user_id,
    }


def _deliveries(draft: Draft, mode: Mode) -> list[dict[str, Any]]:
    transport = transports.of(mode)
    return [
        {
            "id": ids.new(),
            "notification_id": draft.id,
            "position": position,
            "kind": recipient.kind,
            "recipient": recipient.email,
            "recipient_key": addresses.key(recipient.email),
            "transport": transport,
            "status": DeliveryStatus.QUEUED,
            "due_at": draft.plan.due_at,
            "expires_at": draft.plan.ends_at,
        }
        for position, recipient in enumerate(draft.recipients)
    ]
