"""Frozen content between the table and the value that a message is assembled from."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Table, bindparam, delete, func, select
from sqlalchemy.orm import Session

from api.core import attachments, claim, transports
from api.core.driver import Statement, codec, each, instant_of, listed, octets, raw, uuid_of
from api.core.models import Content, Delivery, Notification

#: Bytes of files that a dispatcher has in memory at most, but for a single message that is larger.
MAX_ATTACHED = 64 * 1024 * 1024

_CONTENT = cast(Table, Content.__table__).c
_NOTIFICATION = cast(Table, Notification.__table__).c
_DELIVERY = cast(Table, Delivery.__table__).c
#: In the order in which `_frozen` takes them; the texts come behind.
_COLUMNS = (
    raw(_CONTENT.notification_id),
    _CONTENT.attached,
    _CONTENT.sender_email,
    _CONTENT.sender_name,
    raw(_CONTENT.headers),
    _NOTIFICATION.subject,
    _NOTIFICATION.message_id,
    raw(_NOTIFICATION.created_at),
)
_ALL = select(*_COLUMNS).join_from(Content.__table__, Notification.__table__)
_OF = Statement(_ALL.add_columns(_CONTENT.text, _CONTENT.html).where(_CONTENT.notification_id.in_(each("ids"))))
# Who only sends a text wants it in UTF-8, as it lies there.
_CLAIMED = Statement(
    _ALL.add_columns(octets(_CONTENT.text), octets(_CONTENT.html)).where(
        _CONTENT.notification_id.in_(
            select(_DELIVERY.notification_id).where(
                _DELIVERY.holder == bindparam("me"), _DELIVERY.token == bindparam("claim")
            )
        )
    )
)
#: What `json.loads` does, without what it asks before and after that; gives the value and where it ends.
_parse = json.JSONDecoder().raw_decode


def row(notification_id: UUID, content: claim.Content) -> dict[str, Any]:
    """Return the column values of a content row."""
    return {
        "notification_id": notification_id,
        "sender_email": content.sender.email,
        "sender_name": content.sender.name,
        "headers": {
            "to": [[address.email, address.name] for address in content.to],
            "cc": [[address.email, address.name] for address in content.cc],
            "reply_to": [[address.email, address.name] for address in content.reply_to],
            "extra": [list(header) for header in content.headers],
        },
        "text": content.text,
        "html": content.html,
        "attached": sum(len(file.content) for file in content.attachments),
    }


def load(session: Session, notification_ids: Collection[UUID]) -> dict[UUID, claim.Content]:
    """Return the frozen contents of these notifications; a purged one is missing from the answer."""
    rows = _OF.rows(session.connection(), {"ids": listed(notification_ids)})
    files = attachments.load(session, [uuid_of(row[0]) for row in rows if row[1]])
    return {(id_ := uuid_of(row[0])): _frozen(row, files.get(id_, ())) for row in rows}


def load_claimed(session: Session, *, holder: UUID, token: UUID) -> dict[Any, claim.Content]:
    """Return the frozen contents of what a claim took, by their notifications' ids as the driver has them.

    Those are missing for whose files the holder has no room in memory, beside the files of what else it has claimed.
    """
    connection = session.connection()
    form = codec(connection.dialect.name)
    rows = _CLAIMED.rows(connection, {"me": form.id(holder), "claim": form.id(token)})
    heavy = {uuid_of(row[0]): row[1] for row in rows if row[1]}
    if not heavy:
        return {row[0]: _frozen(row, ()) for row in rows}
    fitting = _fitting(heavy, _in_memory(session, holder, but=token))
    files = attachments.load(session, fitting)
    return {
        row[0]: _frozen(row, files.get(uuid_of(row[0]), ())) for row in rows if not row[1] or uuid_of(row[0]) in fitting
    }


def purge(session: Session, notification_ids: Collection[UUID]) -> None:
    """Delete the contents of these notifications, with their files."""
    attachments.purge(session, notification_ids)
    session.execute(delete(Content).where(Content.notification_id.in_(notification_ids)))


def _in_memory(session: Session, holder: UUID, *, but: UUID) -> int:
    """Return how many bytes of files the holder has claimed for the relay, but for one claim's.

    Those of test mail are let go of in the transaction that claims it.
    """
    held = select(Delivery.notification_id).where(
        Delivery.holder == holder, Delivery.token != but, Delivery.transport != transports.CAPTURE
    )
    return session.scalar(select(func.sum(Content.attached)).where(Content.notification_id.in_(held))) or 0


def _fitting(weights: Mapping[UUID, int], used: int) -> list[UUID]:
    """Return those for whose bytes there is room; where there is nothing yet, there is room for any one."""
    fitting = []
    for id_ in sorted(weights):
        if used == 0 or used + weights[id_] <= MAX_ATTACHED:
            used += weights[id_]
            fitting.append(id_)
    return fitting


def _frozen(row: Sequence[Any], files: tuple[claim.Attachment, ...]) -> claim.Content:
    _, _, email, name, headers, subject, message_id, created_at, text, html = row
    if isinstance(headers, str):
        headers = _parse(headers)[0]
    return claim.Content(
        message_id,
        instant_of(created_at),
        claim.Address(email, name),
        _addresses(headers["to"]),
        _addresses(headers["cc"]) if headers["cc"] else (),
        _addresses(headers["reply_to"]) if headers["reply_to"] else (),
        subject or "",
        text,
        html,
        tuple([(name, value) for name, value in headers["extra"]]) if headers["extra"] else (),
        files,
    )


def _addresses(pairs: list[list[str]]) -> tuple[claim.Address, ...]:
    return tuple([claim.Address(email, name) for email, name in pairs])
