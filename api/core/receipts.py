"""Receipts: what makes a repeated request harmless. The first answer is stored in the transaction of its own work.

The unique index decides between twins in several processes; within one, whoever is second is told so at once.
"""

import contextlib
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    CursorResult,
    LargeBinary,
    String,
    Table,
    and_,
    delete,
    insert,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.core import clock
from api.core.db import Base, Instant, JSONValue, reading
from api.core.errors import FieldError, Gone, Invalid, TwinRunning
from api.core.rows import Rows

#: Receipts deleted in one statement.
PURGE_LIMIT = 1000

_running: set[tuple[UUID, str, str]] = set()
_guard = threading.Lock()


class Receipt(Base):
    """A request that was carried out, by its caller's name for it, and the answer that it got."""

    __tablename__ = "receipts"

    key_id: Mapped[UUID] = mapped_column(primary_key=True)
    #: The kind of request: one name may be used once for each.
    route: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    #: SHA-256 of the request's body, in hex.
    fingerprint: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(Instant, index=True)
    #: What the answer tells of, so that erasing that erases the answer too.
    subject_id: Mapped[UUID | None] = mapped_column(index=True)
    status: Mapped[int]
    headers: Mapped[dict[str, str]] = mapped_column(JSONValue)
    #: None once it is erased.
    body: Mapped[bytes | None] = mapped_column(LargeBinary)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it was given, to the byte; `status` and `headers` are of whatever protocol asked."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Ticket:
    """A request that is to be carried out once: its caller, kind, name and fingerprint, and how it is answered."""

    key_id: UUID
    route: str
    name: str
    fingerprint: str
    #: Makes the answer from what the use-case returns.
    write: Callable[[Any], Answer]
    #: What was stored, as soon as it is.
    answer: Answer | None = field(default=None, init=False)


def find(ticket: Ticket) -> Answer | None:
    """Return the answer that this request got before; None if it is new.

    Raises Invalid if the name was used for another body, Gone if the answer was erased.
    """
    columns = (Receipt.fingerprint, Receipt.status, Receipt.headers, Receipt.body)
    with reading() as session:
        found = session.execute(select(*columns).where(_is(ticket))).first()
    if found is None:
        return None
    if found.fingerprint != ticket.fingerprint:
        detail = "This Idempotency-Key was used before, with another body."
        raise Invalid(detail, errors=[FieldError("", detail, "idempotency_mismatch")])
    if found.body is None:
        raise Gone("This was carried out before, and what was answered is erased.")
    return Answer(found.status, found.headers, found.body)


@contextlib.contextmanager
def running(ticket: Ticket) -> Iterator[None]:
    """Keep twins in this process away while the first one runs. Raises TwinRunning for the second."""
    name = (ticket.key_id, ticket.route, ticket.name)
    with _guard:
        if name in _running:
            raise TwinRunning
        _running.add(name)
    try:
        yield
    finally:
        with _guard:
            _running.discard(name)


def reserve(session: Session, ticket: Ticket | None) -> None:
    """Take the name, before anything else is written. Raises TwinRunning if somebody else has it."""
    if ticket is None:
        return
    try:
        session.execute(insert(Receipt), [{**_named(ticket), "status": 0, "headers": {}}])
    except IntegrityError:
        raise TwinRunning from None


def rows(ticket: Ticket | None, result: Any, *, subject: UUID) -> Rows:
    """Return the row that takes the name and keeps the answer, where both are known before anything is written."""
    if ticket is None:
        return []
    answer = ticket.answer = ticket.write(result)
    stored = {"status": answer.status, "headers": dict(answer.headers), "body": answer.body, "subject_id": subject}
    return [(cast(Table, Receipt.__table__), [{**_named(ticket), **stored}])]


def fill(session: Session, ticket: Ticket | None, result: Callable[[], Any], *, subject: UUID) -> None:
    """Store the answer, made from what the use-case is about to return; `subject` is whom or what it tells of."""
    if ticket is None:
        return
    answer = ticket.write(result())
    session.execute(
        update(Receipt)
        .where(_is(ticket))
        .values(status=answer.status, headers=dict(answer.headers), body=answer.body, subject_id=subject)
        .execution_options(synchronize_session=False)
    )
    ticket.answer = answer


def stamp(session: Session, *, key_id: UUID, route: str, names: Collection[str]) -> None:
    """Note under many names at once that something was carried out, where no answer needs to be kept.

    Raises TwinRunning if somebody else has one of them.
    """
    same = {"key_id": key_id, "route": route, "fingerprint": "", "created_at": clock.utcnow(), "status": 0}
    try:
        if names:
            session.execute(insert(Receipt), [{**same, "name": name, "headers": {}} for name in names])
    except IntegrityError:
        raise TwinRunning from None


def known(session: Session, *, key_id: UUID, route: str, names: Collection[str]) -> set[str]:
    """Return which of these names are taken."""
    query = select(Receipt.name).where(Receipt.key_id == key_id, Receipt.route == route, Receipt.name.in_(names))
    return set(session.scalars(query))


def erase(session: Session, where: ColumnElement[bool]) -> None:
    """Erase the answers of the matching receipts; their names stay taken."""
    session.execute(update(Receipt).where(where).values(body=None).execution_options(synchronize_session=False))


def purge(session: Session, *, kept: timedelta, limit: int = PURGE_LIMIT) -> int:
    """Delete receipts that were kept long enough, the oldest first, up to `limit`; return how many."""
    names = (Receipt.key_id, Receipt.route, Receipt.name)
    old = select(*names).where(Receipt.created_at < clock.utcnow() - kept).order_by(Receipt.created_at).limit(limit)
    gone = session.execute(delete(Receipt).where(tuple_(*names).in_(old)).execution_options(synchronize_session=False))
    assert isinstance(gone, CursorResult)  # noqa: S101 -- tells the type checker what a DELETE gives
    return gone.rowcount


def _named(ticket: Ticket) -> dict[str, Any]:
    return {
        "key_id": ticket.key_id,
        "route": ticket.route,
        "name": ticket.name,
        "fingerprint": ticket.fingerprint,
        "created_at": clock.utcnow(),
    }


def _is(ticket: Ticket) -> ColumnElement[bool]:
    return and_(Receipt.key_id == ticket.key_id, Receipt.route == ticket.route, Receipt.name == ticket.name)
