"""The values that cross the network call: frozen, so that no row and no session goes with them.

Those that come new with every attempt are tuples, which are made three times as fast.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from schemas.vocabulary import Outcome, Phase


class Address(NamedTuple):
    """A mailbox: an ASCII addr-spec (RFC 5321, IDNA 2008 domain) and a display name in Unicode."""

    email: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file of a message; with a `content_id` it is shown inline by the HTML part (`cid:`)."""

    filename: str
    content_type: str
    content: bytes
    content_id: str | None = None


class Content(NamedTuple):
    """Everything that the bytes of a message are made from, frozen when it was accepted.

    `message_id` holds its angle brackets; `date` is aware. `bcc` is not here: it stands in no header.
    """

    message_id: str
    date: datetime
    sender: Address
    to: tuple[Address, ...]
    cc: tuple[Address, ...]
    reply_to: tuple[Address, ...]
    subject: str
    #: Octets are UTF-8, as the table holds it: most of what is claimed is sent without being read.
    text: str | bytes | None
    html: str | bytes | None
    headers: tuple[tuple[str, str], ...] = ()
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True)
class Hold:
    """A dispatcher's grip on one delivery, until its lease ends or somebody else takes it."""

    delivery_id: UUID
    #: Fences every later write: who does not hold this token any more changes nothing.
    token: UUID
    #: This attempt's number, from 1.
    attempt: int
    #: `default` is the relay, `capture` the inbox of test keys.
    transport: str


@dataclass(frozen=True, slots=True)
class Claim(Hold):
    """One recipient's mail, held for sending."""

    notification_id: UUID
    recipient: str
    content: Content


@dataclass(frozen=True, slots=True)
class Reply:
    """What the relay said last: basic code (RFC 5321), enhanced code (RFC 3463), text; no code if it said nothing."""

    code: int | None
    enhanced_code: str | None
    text: str


class Blame(StrEnum):
    """Whose fault a failed attempt is, and so what must be done."""

    NOBODY = "nobody"
    #: Try this recipient later, or never again.
    RECIPIENT = "recipient"
    #: Try this message later, or never again.
    MESSAGE = "message"
    #: Pause the relay and probe it; no attempt counts.
    RELAY = "relay"
    #: Stop and tell the operator; no attempt counts.
    OPERATOR = "operator"


class Result(NamedTuple):
    """What one attempt came to, whose fault that is, and where the dialogue stood.

    `RELEASED` goes with `RELAY` or `OPERATOR`, and with `NOBODY` where this process broke it off before anything was
    handed over; `UNKNOWN` with a connection lost after the final dot.
    A reply without a code means that the connection was lost or the reply made no sense.
    """

    outcome: Outcome
    blame: Blame
    phase: Phase
    reply: Reply
    duration_ms: int


class Settlement(NamedTuple):
    """What an attempt came to, when, and by which hold: what is still to be stored."""

    hold: Hold
    result: Result
    at: datetime
