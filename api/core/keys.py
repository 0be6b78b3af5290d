"""API keys: `pr_live_`, `pr_test_` or `pr_pub_`, 30 base62 characters and a 6-character checksum.

Only a digest is stored, also of those that begin with `pr_pub_` and stand in pages for everybody to read.
"""

import hashlib
import hmac
import re
import secrets
import string
import time
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from flask import current_app
from sqlalchemy import ColumnElement, select, true
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from api.core import clock, extension, ids, paging
from api.core.db import db, reading, transact
from api.core.errors import NotFound
from api.core.models import OPERATOR, ApiKey
from schemas.vocabulary import Mode, Scope

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
FORM = re.compile(r"pr_(?P<kind>live|test|pub)_(?P<random>[0-9A-Za-z]{30})(?P<checksum>[0-9A-Za-z]{6})")

#: Seconds for which the origins of browser keys are not asked for again; other processes make keys, too.
ORIGINS_SECONDS = 1.0
_BROWSER = "pub"
_ORIGINS = "postroom.browser_origins"

#: Seconds for which a key that was found good is taken to be so still: by all, and while one asks for it again. And how
#: many are remembered at most.
KEPT_SECONDS, LONGEST_KEPT = 0.5, 0.9
MOST_KEPT = 1000


@dataclass(slots=True)
class _Kept:
    """A key that was good when it was asked for, at a monotonic time; and whether somebody asks for it again."""

    key: ApiKey
    asked_at: float
    is_asked_for: bool = False


def create(*, name: str, scopes: Collection[Scope], mode: Mode = Mode.LIVE) -> tuple[ApiKey, str]:
    """Store a new key; return it with its secret, which cannot be had again."""
    secret = _secret(mode)
    return adopt(secret, name=name, scopes=scopes), secret


def create_for_browsers(
    *, name: str, origins: Collection[str], templates: Collection[str], mode: Mode = Mode.LIVE
) -> tuple[ApiKey, str]:
    """Store a new browser key, for pages of these origins and for sending these templates; return it with its text."""
    secret = _secret(_BROWSER)
    origins, templates = sorted(set(origins)), sorted(set(templates))
    return _stored(secret, name=name, mode=mode, scopes=[], origins=origins, templates=templates), secret


def adopt(secret: str, *, name: str, scopes: Collection[Scope]) -> ApiKey:
    """Store a key whose secret is known already, or return the one that is stored. Raises ValueError if malformed."""
    form = FORM.fullmatch(secret)
    if form is None or form["kind"] == _BROWSER or not well_formed(secret):
        raise ValueError("malformed key")
    return _stored(secret, name=name, mode=Mode(form["kind"]), scopes=sorted(set(scopes)))


def operator() -> ApiKey:
    """Return the key that the operator's own shell and command line act by; it stands in no table."""
    return ApiKey(id=OPERATOR, name="operator", mode=Mode.LIVE, scopes=[Scope.ADMIN])


def authenticate(secret: str) -> ApiKey | None:
    """Return the key of this secret, or None; every bad secret costs the same work."""
    digest = _digest(secret)
    return _recalled(secret, digest) or _asked(secret, digest)


def recall(secret: str) -> ApiKey | None:
    """Return the key of this secret if it was good lately and still is, else None; no other is asked for.

    A good one is remembered for `KEPT_SECONDS`, and then asked for again by one caller, while the others go by what is
    remembered for `LONGEST_KEPT` at most: a key revoked by another process is of no use beyond that.
    """
    return _recalled(secret, _digest(secret))


def _recalled(secret: str, digest: str) -> ApiKey | None:
    kept = _kept().get(digest)
    if kept is None:
        return None
    age = time.monotonic() - kept.asked_at
    if age < (LONGEST_KEPT if kept.is_asked_for else KEPT_SECONDS):
        return kept.key
    kept.is_asked_for = True
    return _asked(secret, digest)


def _asked(secret: str, digest: str) -> ApiKey | None:
    asked_at = time.monotonic()
    key = _look_up(secret, digest)
    if key is None:
        _kept().pop(digest, None)
    else:
        _keep(digest, key, asked_at)
    return key


def _kept() -> dict[str, _Kept]:
    """Return the keys that were good lately, by digest."""
    kept: dict[str, _Kept] = extension.every().setdefault("postroom.keys", {})
    return kept


def _keep(digest: str, key: ApiKey, asked_at: float) -> None:
    kept = _kept()
    if len(kept) >= MOST_KEPT:
        kept.clear()
    kept[digest] = _Kept(key, asked_at)


def _look_up(secret: str, digest: str) -> ApiKey | None:
    with reading() as session:
        key = session.scalar(select(ApiKey).where(ApiKey.digest == digest))
        # Gives the connection back: the body comes next, and a slow client may take its time over that.
        session.commit()
    # The look-up goes by a digest that a caller cannot steer; the comparison adds nothing that time could tell.
    same = hmac.compare_digest(key.digest if key else _digest(""), digest)
    return key if key is not None and same and key.revoked_at is None and well_formed(secret) else None


def well_formed(secret: str) -> bool:
    """Tell whether the checksum fits: a typing error is told from an unknown key without the database."""
    form = FORM.fullmatch(secret)
    return form is not None and hmac.compare_digest(_checksum(secret[:-6]), form["checksum"])


def browser_origins() -> frozenset[str]:
    """Return the origins of all browser keys that are good; what was read a moment ago is good enough.

    What the database cannot tell just now is answered as it was last known.
    """
    known: tuple[float, frozenset[str]] | None = current_app.extensions.get(_ORIGINS)
    now = time.monotonic()
    if known is not None and now - known[0] < ORIGINS_SECONDS:
        return known[1]
    try:
        rows = db.session.scalars(select(ApiKey.origins).where(ApiKey.revoked_at.is_(None))).all()
        db.session.commit()
        found = frozenset(origin for origins in rows if origins for origin in origins)
    except (DBAPIError, PoolTimeout):
        found = known[1] if known is not None else frozenset()
    current_app.extensions[_ORIGINS] = (now, found)
    return found


def search(*, limit: int, after: str | None = None, key: ApiKey | None = None) -> paging.Page[ApiKey]:
    """Return the keys, newest first, the revoked ones too; those that `key` may see. Raises BadCursor."""
    return paging.page(select(ApiKey).where(_seen_by(key)), ApiKey.id, limit=limit, after=after, kind="keys")


def revoke(key_id: UUID, *, key: ApiKey | None = None) -> None:
    """Make a key useless from now on. Raises NotFound, also for one that `key` may not see."""

    def work(session: Session) -> None:
        found = session.scalar(select(ApiKey).where(ApiKey.id == key_id, _seen_by(key)))
        if found is None:
            raise NotFound
        found.revoked_at = found.revoked_at or clock.utcnow()

    transact(work)
    _kept().clear()
    current_app.extensions.pop(_ORIGINS, None)


def _stored(secret: str, **columns: Any) -> ApiKey:
    """Store a key, or return the one of this secret that is stored."""
    digest = _digest(secret)

    known_by_digest = select(ApiKey).where(ApiKey.digest == digest)

    def work(session: Session) -> ApiKey:
        known = session.scalar(known_by_digest)
        if known is not None:
            return known
        key = ApiKey(
            id=ids.new(), digest=digest, hint=secret[-4:], created_at=clock.utcnow(), revoked_at=None, **columns
        )
        session.add(key)
        return key

    try:
        key = transact(work)
    except IntegrityError:  # another process has stored it in between
        key = db.session.scalars(known_by_digest).one()
    current_app.extensions.pop(_ORIGINS, None)
    return key


def _secret(kind: str) -> str:
    random = "".join(secrets.choice(ALPHABET) for _ in range(30))
    return f"pr_{kind}_{random}{_checksum(f'pr_{kind}_{random}')}"


def _seen_by(key: ApiKey | None) -> ColumnElement[bool]:
    """Return what a key sees of the others: a live one all, for it makes test keys too; a test one only its like."""
    return true() if key is None or key.mode is Mode.LIVE else ApiKey.mode == key.mode


def _digest(secret: str) -> str:
    # 178 random bits need no slow hash: nobody can try them out.
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _checksum(text: str) -> str:
    number = zlib.crc32(text.encode())
    digits = ""
    for _ in range(6):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits
