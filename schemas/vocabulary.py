"""The closed vocabularies used on the wire and in the tables alike."""

from enum import StrEnum


class DeliveryStatus(StrEnum):
    """Where one recipient's mail stands, least finished first."""

    QUEUED = "queued"
    SENDING = "sending"
    DEFERRED = "deferred"
    #: The relay answered 2xx to the end of DATA for this recipient, nothing less.
    SENT = "sent"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    SUPPRESSED = "suppressed"


class NotificationStatus(StrEnum):
    """Where a whole notification stands: a delivery's words, and two of its own."""

    #: Nothing is tried before `send_at`.
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    SENDING = "sending"
    DEFERRED = "deferred"
    SENT = "sent"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    SUPPRESSED = "suppressed"
    #: Every recipient is finished and they differ.
    PARTIAL = "partial"


class RecipientKind(StrEnum):
    """The header a recipient stands in; a `bcc` stands in none."""

    TO = "to"
    CC = "cc"
    BCC = "bcc"


#: Going through an enumeration's own members takes several times as long.
KINDS = tuple(RecipientKind)


class Phase(StrEnum):
    """The step of the SMTP dialogue (RFC 5321) that an attempt ended in."""

    CONNECT = "connect"
    BANNER = "banner"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    #: While the content was on its way, before the final dot was written.
    BODY = "body"
    #: After the final dot was written: without an answer the outcome is unknown.
    DOT = "dot"
    #: Not the dialogue: the message could not be put on the wire at all.
    MESSAGE = "message"
    #: Not the dialogue: the process that held the message died or was stopped.
    WORKER = "worker"


class Outcome(StrEnum):
    """What one attempt came to."""

    SENT = "sent"
    DEFERRED = "deferred"
    FAILED = "failed"
    #: The connection was lost after the final dot: the relay may have the message.
    UNKNOWN = "unknown"
    #: The relay was in trouble or the operator's settings were refused: not counted as an attempt.
    RELEASED = "released"


class TransportState(StrEnum):
    """Whether mail goes to a relay; in the last two it is probed until it does again."""

    UP = "up"
    #: The relay's fault: it cannot be reached, or asks to be left alone.
    PAUSED = "paused"
    #: The operator's: credentials, certificate or settings were refused.
    STOPPED = "stopped"


class Scope(StrEnum):
    """What an API key may do; `admin` includes all the others."""

    USERS_READ = "users:read"
    USERS_WRITE = "users:write"
    NOTIFICATIONS_READ = "notifications:read"
    NOTIFICATIONS_WRITE = "notifications:write"
    TEMPLATES_READ = "templates:read"
    TEMPLATES_WRITE = "templates:write"
    ADMIN = "admin"


class Mode(StrEnum):
    """Live mail goes to the relay; test mail only to the captured inbox."""

    LIVE = "live"
    TEST = "test"


FINISHED = frozenset(
    {
        DeliveryStatus.SENT,
        DeliveryStatus.FAILED,
        DeliveryStatus.CANCELLED,
        DeliveryStatus.EXPIRED,
        DeliveryStatus.SUPPRESSED,
    }
)
OPEN = frozenset(DeliveryStatus) - FINISHED
