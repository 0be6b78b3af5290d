"""Users: registration with its notices, changes, and erasure."""

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api.core import (
    addresses,
    backlog,
    clock,
    drafts,
    erasure,
    frequency,
    ids,
    notifications,
    paging,
    policy,
    receipts,
    simulator,
)
from api.core.claim import Address
from api.core.db import db, transact
from api.core.drafts import Draft
from api.core.errors import Conflict, FieldError, Invalid, NotFound, StaleVersion
from api.core.models import ApiKey, Notification, User
from api.core.receipts import Ticket
from schemas.vocabulary import Mode

#: The template of the mail to the user; the administrator's is of another.
WELCOME = "welcome"


@dataclass(frozen=True, slots=True)
class Registration:
    """What came of a registration: the user, whether it was known already, and the notices that were queued."""

    user: User
    known: bool
    notifications: tuple[Notification, ...]


def register(
    *,
    key: ApiKey,
    username: str,
    email: str,
    name: str | None = None,
    locale: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    ticket: Ticket | None = None,
) -> Registration:
    """Store a user together with the notices about it: to the admin, and the welcome mail if switched on.

    The same username and e-mail again give the known user, and no mail. Raises Conflict if either belongs to
    somebody else, Invalid, TwinRunning if the ticket was used meanwhile, TooMany, QueueFull, Unavailable.
    """
    mailbox = _normal(email, key.mode)
    known = _known(key.mode, username, mailbox)
    if known is not None:
        return _again(known, ticket)
    now = clock.utcnow()
    user = User(
        id=ids.new(),
        mode=key.mode,
        username=username,
        username_key=username_key(username),
        email=mailbox,
        email_key=addresses.key(mailbox),
        name=name,
        locale=locale,
        metadata_=dict(metadata or {}),
        registered_by=key.id,
        version=1,
        created_at=now,
        updated_at=now,
    )
    notices = _notices(user)
    if notices:
        backlog.current().check()
    # A notice to the administrator is nobody's to use up.
    welcome = [notice for notice in notices if notice.template_name == WELCOME]

    def work(session: Session, count: Callable[[Session], None]) -> None:
        receipts.reserve(session, ticket)
        count(session)
        session.add(user)
        session.flush()
        notifications.store(session, notices, mode=key.mode)
        receipts.fill(session, ticket, lambda: registered(session), subject=user.id)

    def registered(session: Session) -> Registration:
        queued = notifications.read(session, [notice.id for notice in notices])
        return Registration(user, known=False, notifications=tuple(queued))

    try:
        with frequency.Counting(key, welcome, frequency.at("/email")) as count:
            transact(partial(work, count=count))
    except IntegrityError:
        # A twin was faster: the index has decided, and the answer is the one it would have got a moment later.
        twin = _known(key.mode, username, mailbox)
        if twin is None:
            raise Conflict from None
        return _again(twin, ticket)
    notifications.nudge()
    queued = tuple(notifications.get(notice.id, key=key) for notice in notices)
    return Registration(user, known=False, notifications=queued)


def get(user_id: UUID, *, key: ApiKey) -> User:
    """Return a user. Raises NotFound, also for the other mode's."""
    user = db.session.scalar(
        select(User).where(User.id == user_id, User.mode == key.mode).execution_options(populate_existing=True)
    )
    if user is None:
        raise NotFound
    return user


def search(*, key: ApiKey, limit: int = 50, after: str | None = None) -> paging.Page[User]:
    """Return the users, newest first. Raises BadCursor."""
    return paging.page(select(User).where(User.mode == key.mode), User.id, limit=limit, after=after, kind="users")


def change(user_id: UUID, *, key: ApiKey, version: int | None, **changes: Any) -> User:
    """Change a user that is still at `version` (None: whichever).

    Raises NotFound, StaleVersion, Conflict with the pointer of a name that belongs to somebody else, Invalid.
    """
    if "email" in changes:
        changes["email"] = _normal(changes["email"], key.mode)
        changes["email_key"] = addresses.key(changes["email"])
    if "username" in changes:
        changes["username_key"] = username_key(changes["username"])
    if "metadata" in changes:
        changes["metadata_"] = changes.pop("metadata")

    def work(session: Session) -> None:
        user = _locked(session, user_id, key)
        if version is not None and user.version != version:
            raise StaleVersion
        _refuse_taken(session, user, changes)
        session.execute(
            update(User)
            .where(User.id == user_id, User.version == user.version)
            .values(version=User.version + 1, updated_at=clock.utcnow(), **changes)
            .execution_options(synchronize_session=False)
        )

    try:
        transact(work)
    except IntegrityError:
        raise Conflict("The username or the e-mail address belongs to somebody else.") from None
    return get(user_id, key=key)


def erase(user_id: UUID, *, key: ApiKey, version: int | None = None) -> None:
    """Delete a user: mail to them that waits is cancelled, their data is erased, the counts stay.

    Raises NotFound, StaleVersion.
    """

    def work(session: Session) -> None:
        user = _locked(session, user_id, key)
        if version is not None and user.version != version:
            raise StaleVersion
        erasure.erase(session, mode=user.mode, mailbox=user.email_key, user_id=user.id)
        session.delete(user)

    transact(work)


def username_key(username: str) -> str:
    """Return what uniqueness compares: compatibility forms and case do not count (UAX #15, #31)."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", username).casefold())


def _locked(session: Session, user_id: UUID, key: ApiKey) -> User:
    """Return a user, and keep others from changing it meanwhile. Raises NotFound."""
    wanted = select(User).where(User.id == user_id, User.mode == key.mode).with_for_update()
    user = session.scalar(wanted.execution_options(populate_existing=True))
    if user is None:
        raise NotFound
    return user


def _normal(email: str, mode: Mode) -> str:
    try:
        normal = addresses.normalise(email)
    except ValueError as error:
        raise Invalid(errors=[FieldError("/email", str(error), "invalid_address")]) from None
    complaint = simulator.complaint(normal, mode=mode)
    if complaint is not None:
        raise Invalid(errors=[FieldError("/email", *complaint)])
    return normal


def _again(user: User, ticket: Ticket | None) -> Registration:
    """Return what a registration of a known user comes to, with its receipt if one is wanted."""
    registration = Registration(user, known=True, notifications=())
    if ticket is not None:

        def work(session: Session) -> None:
            receipts.reserve(session, ticket)
            receipts.fill(session, ticket, lambda: registration, subject=user.id)

        transact(work)
    return registration


def _known(mode: Mode, username: str, email: str) -> User | None:
    """Return the user of this username and e-mail. Raises Conflict if one of them is somebody else's."""
    name, mailbox = username_key(username), addresses.key(email)
    # One statement: between two, a twin could be stored, and one of them would see half of it.
    owners = select(User).where(User.mode == mode, or_(User.username_key == name, User.email_key == mailbox))
    found = db.session.scalars(owners).all()
    by_name = next((user for user in found if user.username_key == name), None)
    by_email = next((user for user in found if user.email_key == mailbox), None)
    if by_name is not None and by_name is by_email:
        return by_name
    _raise_taken(username=by_name is not None, email=by_email is not None)
    return None


def _refuse_taken(session: Session, user: User, changes: Mapping[str, Any]) -> None:
    others = select(User.id).where(User.mode == user.mode, User.id != user.id)
    _raise_taken(
        username="username_key" in changes
        and session.scalar(others.where(User.username_key == changes["username_key"])) is not None,
        email="email_key" in changes
        and session.scalar(others.where(User.email_key == changes["email_key"])) is not None,
    )


def _raise_taken(*, username: bool, email: bool) -> None:
    taken = {"/username": username, "/email": email}
    wrong = [FieldError(pointer, "Belongs to somebody else.", "taken") for pointer, is_so in taken.items() if is_so]
    if wrong:
        raise Conflict("The username or the e-mail address belongs to somebody else.", errors=wrong)


def _notices(user: User) -> list[Draft]:
    rules = policy.current()
    if rules.sender is None and (rules.admin is not None or rules.welcome):
        raise drafts.no_sender()
    data = {"user": {"username": user.username, "name": user.name, "email": user.email}}
    notices = []
    mode = user.mode
    if rules.admin is not None:
        notices.append(drafts.make(mode=mode, to=[rules.admin], template="new_user", data=data, user_id=user.id))
    if rules.welcome:
        whom = Address(user.email, user.name)
        notices.append(
            drafts.make(mode=mode, to=[whom], template=WELCOME, data=data, locale=user.locale, user_id=user.id)
        )
    return notices
