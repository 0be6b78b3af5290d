"""The captured inbox: what the embedded relay of development and test keys caught."""

import email
import email.policy
from collections.abc import Sequence
from email.message import EmailMessage
from uuid import UUID

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session, defer

from api.core import clock, ids, paging
from api.core.db import db, transact
from api.core.errors import NotFound
from api.core.models import ApiKey, Capture
from schemas.vocabulary import Mode


def capture(*, mode: Mode, sender: str, recipients: Sequence[str], raw: bytes) -> None:
    """Store a mail as it came, with its envelope."""
    transact(lambda session: add(session, mode=mode, sender=sender, recipients=recipients, raw=raw))


def add(session: Session, *, mode: Mode, sender: str, recipients: Sequence[str], raw: bytes) -> None:
    """Store a mail within a transaction."""
    session.execute(
        insert(Capture).values(
            id=ids.new(),
            mode=mode,
            received_at=clock.utcnow(),
            sender=sender,
            recipients=list(recipients),
            subject=_subject(raw),
            raw=raw,
        )
    )


def search(*, key: ApiKey, limit: int, after: str | None = None) -> paging.Page[Capture]:
    """Return captured mail, newest first, without its bytes. Raises BadCursor."""
    query = select(Capture).where(Capture.mode == key.mode).options(defer(Capture.raw))
    return paging.page(query, Capture.id, limit=limit, after=after, kind="inbox")


def get(capture_id: UUID, *, key: ApiKey) -> Capture:
    """Return one captured mail. Raises NotFound."""
    found = db.session.get(Capture, capture_id)
    if found is None or found.mode is not key.mode:
        raise NotFound
    return found


def empty(*, key: ApiKey) -> None:
    """Delete everything that this key can see."""
    transact(lambda session: session.execute(delete(Capture).where(Capture.mode == key.mode)))


def parsed(raw: bytes) -> EmailMessage:
    """Return the bytes as a message of the standard library."""
    return email.message_from_bytes(raw, policy=email.policy.default)


def _subject(raw: bytes) -> str:
    try:
        return str(parsed(raw)["Subject"] or "")
    except (ValueError, LookupError, IndexError):  # the parser's own bugs on odd headers must not lose the mail
        return ""
