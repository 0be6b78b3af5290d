"""Status tokens: leave to read how one notification stands, for a day and without a key.

A token is `pr_status_` and, in URL-safe base64, its mode (1 octet), its end (6 octets, seconds since 1970) and an
HMAC-SHA256 (RFC 2104) over both and the notification's id. The secret of that is made at the first use and kept in the
database: it holds for all processes and survives their restarts.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from flask import current_app
from sqlalchemy import LargeBinary, String, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.core import clock
from api.core.db import Base, db, transact
from api.core.models import ApiKey
from schemas.vocabulary import Mode, Scope

#: How long a token is good for.
LIFE = timedelta(hours=24)
PREFIX = "pr_status_"

_NAME = "status_token"
_HOLDER = "status token"
_SECRET_BYTES = 32
#: 39 octets come out even: a padded last character would have several spellings.
_FORM = re.compile(PREFIX + r"(?P<packed>[A-Za-z0-9_-]{52})")
_MODES = {Mode.LIVE: b"l", Mode.TEST: b"t"}
_END_BYTES = 6
_CACHE = "postroom.status_secret"
#: Nobody has it: comparing goes on where there is no secret yet, and finds nothing.
_NO_SECRET = secrets.token_bytes(_SECRET_BYTES)


class Secret(Base):
    """A secret of the deployment, made by whichever process needed it first."""

    __tablename__ = "secrets"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[bytes] = mapped_column(LargeBinary)


def minter() -> Callable[[UUID, Mode], str]:
    """Return what makes a notification's token, without asking the database again. Raises Unavailable."""
    secret = _stored() or _made()

    def mint(notification_id: UUID, mode: Mode) -> str:
        end = int((clock.utcnow() + LIFE).timestamp()).to_bytes(_END_BYTES)
        told = _MODES[mode] + end
        packed = base64.urlsafe_b64encode(told + _signature(secret, notification_id, told))
        return PREFIX + packed.decode()

    return mint


def holder(token: str, notification_id: UUID) -> ApiKey | None:
    """Return, as a key that may read and stands in no table, whoever brings this token for this notification.

    None if it is malformed, tampered with, for another notification, or over.
    """
    form = _FORM.fullmatch(token)
    packed = base64.urlsafe_b64decode(form["packed"]) if form else bytes(1 + _END_BYTES + hashlib.sha256().digest_size)
    told, signature = packed[: 1 + _END_BYTES], packed[1 + _END_BYTES :]
    is_ours = hmac.compare_digest(_signature(_stored() or _NO_SECRET, notification_id, told), signature)
    is_over = int.from_bytes(told[1:]) <= clock.utcnow().timestamp()
    if form is None or not is_ours or is_over:
        return None
    [mode] = [mode for mode, octet in _MODES.items() if octet == told[:1]]
    return ApiKey(id=notification_id, name=_HOLDER, digest="", mode=mode, scopes=[Scope.NOTIFICATIONS_READ])


def is_token(key: ApiKey) -> bool:
    """Tell whether this key is what `holder` has made of a token."""
    return key.digest == ""


def _signature(secret: bytes, notification_id: UUID, told: bytes) -> bytes:
    return hmac.digest(secret, b"status token\0" + notification_id.bytes + told, "sha256")


def _stored() -> bytes | None:
    """Return the secret, None if nobody has made it yet. It never changes, so that it is read once."""
    known: bytes | None = current_app.extensions.get(_CACHE)
    if known is None:
        known = db.session.scalar(select(Secret.value).where(Secret.name == _NAME))
        db.session.commit()  # gives the connection back
        if known is not None:
            current_app.extensions[_CACHE] = known
    return known


def _made() -> bytes:
    """Make the secret, or return the one that somebody else has made meanwhile."""

    def work(session: Session) -> bytes:
        known = session.scalar(select(Secret.value).where(Secret.name == _NAME))
        if known is None:
            known = secrets.token_bytes(_SECRET_BYTES)
            session.add(Secret(name=_NAME, value=known))
            session.flush()
        return known

    try:
        current_app.extensions[_CACHE] = transact(work)
    except IntegrityError:
        # Another process was faster; on SQLite they come one after the other.
        current_app.extensions[_CACHE] = transact(work)
    secret: bytes = current_app.extensions[_CACHE]
    return secret
