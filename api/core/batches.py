"""Batches: many personalised messages, accepted in one transaction and followed together."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.core import backlog, clock, drafts, frequency, ids, notifications, policy, receipts, recipients, steering
from api.core.claim import Content
from api.core.db import Base, Instant, db, transact, word
from api.core.drafts import Draft
from api.core.errors import Conflict, FieldError, Invalid, NotFound, UnknownTemplate
from api.core.models import ApiKey, Delivery, Notification, User
from api.core.receipts import Ticket
from schemas.vocabulary import FINISHED, DeliveryStatus, Mode

#: Characters of text and HTML, and bytes of files, that one batch may come to: one transaction writes all of it.
MAX_CONTENT = 64 * 1024 * 1024
#: What a message has of its own; a complaint about anything else points to the message as a whole.
_OWN = frozenset(
    {"to", "cc", "bcc", "reply_to", "data", "locale", "subject", "headers", "tags", "metadata", "attachments"}
    | {"send_at", "expires_at"}
)
#: What everybody shares, if a message has none of its own: what is wrong with it is told once, for the whole batch.
_EVERYBODYS = frozenset({"from", "reply_to", "attachments"})


class Batch(Base):
    """Messages that were accepted together."""

    __tablename__ = "batches"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    mode: Mapped[Mode] = mapped_column(word(Mode))
    created_at: Mapped[datetime] = mapped_column(Instant)
    #: Messages that were queued.
    total: Mapped[int]


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that is wrong; the pointers of its errors begin at the message."""

    errors: tuple[FieldError, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """What became of one message: the notification's id, or the errors, with pointers into the whole request."""

    index: int
    id: UUID | None
    errors: tuple[FieldError, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """A batch and its deliveries by status; `items` are told once, when it is accepted."""

    batch: Batch
    counts: Mapping[DeliveryStatus, int]
    items: Sequence[Item] = ()

    @property
    def progress(self) -> float:
        """The share of deliveries that are finished, from 0 to 1."""
        finished = sum(number for status, number in self.counts.items() if status in FINISHED)
        return finished / (sum(self.counts.values()) or 1)


def accept(
    *,
    key: ApiKey,
    messages: Sequence[Mapping[str, Any] | Refused],
    partly: bool,
    ticket: Ticket | None = None,
    **shared: Any,
) -> Standing:
    """Accept the messages, each with what it shares with all: its `data` is laid over theirs, the rest replaces it.

    Messages and `shared` hold what `drafts.make` takes. With `partly` wrong messages are left out, as long as one
    is right. Raises Invalid with the errors of every wrong message, NotAllowed, TwinRunning, TooMany, QueueFull,
    Unavailable; then nothing is stored.
    """
    backlog.current().check()
    _check_template(shared.get("template"))
    users = recipients.find((one for one in messages if not isinstance(one, Refused)), mode=key.mode)
    made = _made(messages, shared, users, key.mode)
    wrong = {index: one.errors for index, one in enumerate(made) if isinstance(one, Refused)}
    if wrong and (not partly or len(wrong) == len(made)):
        raise Invalid(f"{len(wrong)} of the {len(made)} messages are wrong.", errors=_all_indexes_first(wrong))
    queued = [one for one in made if isinstance(one, Draft)]
    batch = Batch(id=ids.new(), mode=key.mode, created_at=clock.utcnow(), total=len(queued))
    items = [
        Item(index, one.id) if isinstance(one, Draft) else Item(index, None, one.errors)
        for index, one in enumerate(made)
    ]
    counts = dict.fromkeys(DeliveryStatus, 0) | {DeliveryStatus.QUEUED: sum(len(one.recipients) for one in queued)}
    standing = Standing(batch, counts, items)

    def pointed(refused: Mapping[str, FieldError]) -> Sequence[FieldError]:
        resolved = {
            f"/messages/{index}": recipients.resolve(message, users)
            for index, (message, one) in enumerate(zip(messages, made, strict=True))
            if isinstance(message, Mapping) and isinstance(one, Draft)
        }
        return frequency.within(resolved)(refused)

    def work(session: Session, count: Callable[[Session], None]) -> None:
        receipts.reserve(session, ticket)
        count(session)
        values = {"id": batch.id, "mode": batch.mode, "created_at": batch.created_at, "total": batch.total}
        session.execute(insert(Batch), [values])
        notifications.store(session, queued, mode=key.mode, batch_id=batch.id)
        receipts.fill(session, ticket, lambda: standing, subject=batch.id)

    with frequency.Counting(key, queued, pointed) as count:
        transact(partial(work, count=count))
    notifications.nudge()
    return standing


def get(batch_id: UUID, *, key: ApiKey) -> Standing:
    """Return a batch as it stands. Raises NotFound, also for the other mode's."""
    batch = _known(db.session(), batch_id, key)
    found = db.session.execute(
        select(Delivery.status, func.count())
        .join(Notification, Notification.id == Delivery.notification_id)
        .where(Notification.batch_id == batch_id)
        .group_by(Delivery.status)
    )
    return Standing(batch, dict.fromkeys(DeliveryStatus, 0) | {row[0]: row[1] for row in found})


def cancel(batch_id: UUID, *, key: ApiKey) -> Standing:
    """Withdraw what has not been handed to the relay yet. Raises NotFound, Conflict when all of it is finished."""

    def work(session: Session) -> None:
        _known(session, batch_id, key)
        theirs = Delivery.notification_id.in_(select(Notification.id).where(Notification.batch_id == batch_id))
        still_open = select(Delivery.id).where(theirs, Delivery.finished_at.is_(None)).limit(1)
        if session.execute(still_open).first() is None:
            raise Conflict("Every delivery of this batch is finished.")
        steering.withdraw(session, theirs)

    transact(work)
    return get(batch_id, key=key)


def _known(session: Session, batch_id: UUID, key: ApiKey) -> Batch:
    batch = session.scalar(select(Batch).where(Batch.id == batch_id, Batch.mode == key.mode))
    if batch is None:
        raise NotFound
    return batch


def _check_template(name: str | None) -> None:
    """Raise Invalid once for an unknown template, instead of for every message."""
    try:
        if name is not None:
            policy.current().templates.describe(name)
    except UnknownTemplate as error:
        raise Invalid(error.detail, errors=error.errors) from None


def _made(
    messages: Sequence[Mapping[str, Any] | Refused], shared: Mapping[str, Any], users: Mapping[UUID, User], mode: Mode
) -> list[Draft | Refused]:
    made: list[Draft | Refused] = []
    room = MAX_CONTENT
    for index, message in enumerate(messages):
        one = message if isinstance(message, Refused) else _draft(message, shared, users, mode)
        if isinstance(one, Refused):
            one = Refused(tuple(_within(index, error) for error in one.errors))
        else:
            room -= _size(one.content)
        if room < 0:
            detail = f"The messages and their files come to more than {MAX_CONTENT} characters together."
            raise Invalid(errors=[FieldError("/messages", detail, "too_long")])
        made.append(one)
    return made


def _size(content: Content) -> int:
    return len(content.text or "") + len(content.html or "") + sum(len(file.content) for file in content.attachments)


def _draft(
    message: Mapping[str, Any], shared: Mapping[str, Any], users: Mapping[UUID, User], mode: Mode
) -> Draft | Refused:
    if "data" in message and "template" not in shared:
        return Refused((FieldError("/data", "Is of use only beside a template.", "excluded"),))
    data = {**shared.get("data", {}), **message.get("data", {})}
    try:
        return drafts.make(mode=mode, **recipients.resolve({**shared, **message, "data": data}, users))
    except Invalid as error:
        if any(_field(one) in _EVERYBODYS - message.keys() for one in error.errors):
            raise
        return Refused(tuple(_own(one, shared.keys() - message.keys()) for one in error.errors))


def _own(error: FieldError, shared: Collection[str]) -> FieldError:
    """Return the error at its place in the message, or at the message if what is wrong with it stands elsewhere."""
    is_own = _field(error) in _OWN and (_field(error) not in shared or _field(error) == "data")
    return error if is_own else FieldError("", error.detail, error.code)


def _field(error: FieldError) -> str:
    return error.pointer[1:].partition("/")[0]


def _within(index: int, error: FieldError) -> FieldError:
    return FieldError(f"/messages/{index}{error.pointer}", error.detail, error.code)


def _all_indexes_first(wrong: Mapping[int, tuple[FieldError, ...]]) -> list[FieldError]:
    """Return one error of each message, then the others: an answer may have no room for all of them."""
    return [errors[0] for errors in wrong.values()] + [one for errors in wrong.values() for one in errors[1:]]
