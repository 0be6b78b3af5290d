"""Lists, newest first, by an opaque cursor: the id of the last item seen, with a checksum against alteration."""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

from sqlalchemy import Select
from sqlalchemy.orm import InstrumentedAttribute

from api.core.db import db
from api.core.errors import BadCursor

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list, and the cursor of the next one."""

    data: Sequence[T]
    next: str | None


def page(query: Select[T], id_: InstrumentedAttribute[UUID], *, limit: int, after: str | None, kind: str) -> Page[T]:
    """Return up to `limit` items older than the cursor. Raises BadCursor.

    Ids are time-ordered (UUIDv7), so their order is that of creation.
    """
    if after is not None:
        query = query.where(id_ < decode(after, kind=kind))
    found = db.session.scalars(query.order_by(id_.desc()).limit(limit + 1)).unique().all()
    data = found[:limit]
    more = len(found) > limit
    last: Any = data[-1] if more else None
    return Page(data, encode(last.id, kind=kind) if more else None)


def encode(id_: UUID, *, kind: str) -> str:
    """Return the cursor that stands after this item of the `kind` of list."""
    return base64.urlsafe_b64encode(id_.bytes + _check(id_.bytes, kind)).decode().rstrip("=")


def decode(cursor: str, *, kind: str) -> UUID:
    """Return the id in a cursor. Raises BadCursor if it was altered or comes from another kind of list."""
    try:
        raw = base64.b64decode(cursor.encode() + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (ValueError, UnicodeEncodeError, binascii.Error):
        raise BadCursor from None
    # Compared in its text form as well, for base64 ignores the last character's spare bits.
    if len(raw) != 21 or encode(UUID(bytes=raw[:16]), kind=kind) != cursor:
        raise BadCursor
    return UUID(bytes=raw[:16])


def _check(raw: bytes, kind: str) -> bytes:
    return hashlib.blake2b(raw, digest_size=5, person=kind.encode()).digest()
