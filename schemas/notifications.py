"""Notifications on the wire: a message to send, and how it stands."""

from typing import Any

from marshmallow import ValidationError, fields, validates_schema

from schemas.addresses import Mailboxes, Recipients, Sender
from schemas.attachments import AttachedOut, Attachments
from schemas.base import (
    Answer,
    Boolean,
    Id,
    Instant,
    JsonObject,
    Line,
    List,
    ListQuery,
    Nested,
    Page,
    Request,
    String,
    Word,
)
from schemas.complaints import Complaint, Length
from schemas.headers import Headers
from schemas.text import not_blank
from schemas.users import LOCALE
from schemas.vocabulary import DeliveryStatus, NotificationStatus, Outcome, Phase, RecipientKind

#: Characters of a text or an HTML body.
LONGEST_BODY = 512 * 1024
#: Entries in one list of recipients. Repetitions count once, so there may be more than the 50 recipients allowed.
LONGEST_LIST = 500


class NotificationIn(Request):
    """A message: either `template` with `data`, or `subject` with `text`, `html` or both."""

    to = Recipients(
        longest=LONGEST_LIST, metadata={"description": "At most 50 different recipients in all three lists."}
    )
    cc = Recipients(longest=LONGEST_LIST)
    bcc = Recipients(longest=LONGEST_LIST, metadata={"description": "Named in no header."})
    reply_to = Mailboxes(longest=50)
    sender = Sender(data_key="from", metadata={"description": "Must be on the operator's list of senders."})
    template = String(validate=Length(1, 64), metadata={"description": "A template's name.", "example": "welcome"})
    data = JsonObject(largest=256 * 1024, metadata={"description": "The template's variables: at most 256 KiB."})
    locale = String(
        validate=[Length(2, 35), LOCALE],
        metadata={
            "description": "The language to take of a template that has several (BCP 47). If left out: that of the "
            "recipients, where they all are users of the same language.",
            "example": "en",
        },
    )
    subject = Line(not_blank, longest=998, metadata={"description": "Overrides the template's."})
    text = String(validate=Length(1, LONGEST_BODY))
    html = String(validate=Length(1, LONGEST_BODY))
    attachments = Attachments(
        metadata={
            "description": "One file or several: as the operator allows, by default at most 20, of 10 MiB each and 15 "
            "MiB together."
        }
    )
    headers = Headers(
        metadata={
            "description": "Header fields of your own, at most 20. Not those that are made from other parts of the "
            "message, nor those that relays write.",
            "example": {"X-Order": "7"},
        }
    )
    send_at = Instant(
        metadata={
            "description": "Nothing is tried before this time, which is at most 366 days ahead. One that has passed "
            "means now.",
            "example": "2027-01-01T09:00:00Z",
        }
    )
    expires_at = Instant(
        metadata={
            "description": "What is not sent by this time expires: after `send_at`, and never later than the "
            "operator's own age for giving up.",
            "example": "2027-01-02T09:00:00Z",
        }
    )
    tags = List(Line(longest=64), validate=Length(max=10), metadata={"example": ["orders"]})
    metadata = JsonObject(
        largest=8 * 1024, entries=50, metadata={"description": "Anything of yours: at most 50 entries and 8 KiB."}
    )
    status_token = Boolean(
        load_default=False,
        metadata={
            "description": "Answer with a `status_token`: good for 24 hours as `?token=` on this notification's GET "
            "and events and on nothing else, without a key. Made for a browser that is to follow its own message."
        },
    )

    @validates_schema
    def _has_one_content(self, data: dict[str, Any], **_kwargs: Any) -> None:
        errors = beside_a_template(data) if "template" in data else without_a_template(data)
        if errors:
            raise ValidationError(errors)


def beside_a_template(data: dict[str, Any]) -> dict[str, list[str]]:
    """Return what is wrong with the rest of a content that has a template, by field."""
    said = "May not stand beside a template, which brings its own."
    return {name: [Complaint(said, "excluded")] for name in ("text", "html") if name in data}


def without_a_template(data: dict[str, Any]) -> dict[str, list[str]]:
    """Return what is wrong with a content that has no template, by field."""
    errors: dict[str, list[str]] = {}
    if "text" not in data and "html" not in data:
        errors["template"] = [Complaint("Give a template, or a subject with text, html or both.", "required")]
    elif "subject" not in data:
        errors["subject"] = [Complaint("A message without a template needs a subject.", "required")]
    if "data" in data:
        errors["data"] = [Complaint("Is of use only beside a template.", "excluded")]
    return errors


class NotificationChange(Request):
    """When to send what waits."""

    send_at = Instant(
        required=True,
        allow_none=True,
        metadata={"description": "At most 366 days ahead; null for now.", "example": "2027-01-01T09:00:00Z"},
    )


class NotificationQuery(ListQuery):
    """Which notifications are asked for; all conditions must hold."""

    status = Word(NotificationStatus)
    recipient = Line(longest=254, metadata={"description": "An address in to, cc or bcc."})
    template = Line(longest=64)
    tag = Line(longest=64)
    batch_id = Id(metadata={"description": "Of this batch."})
    since = Instant(metadata={"description": "Created at this time or later."})
    until = Instant(metadata={"description": "Created before this time."})


class AttemptOut(Answer):
    """One try at a delivery, and what the relay said."""

    at = Instant(required=True)
    transport = fields.String(required=True)
    outcome = Word(Outcome, required=True)
    phase = Word(Phase, required=True, metadata={"description": "How far the SMTP dialogue came."})
    code = fields.Integer(required=True, allow_none=True, metadata={"description": "Null if the relay said nothing."})
    enhanced_code = fields.String(required=True, allow_none=True, metadata={"description": "RFC 3463."})
    reply = fields.String(required=True)
    duration_ms = fields.Integer(required=True)


class DeliveryOut(Answer):
    """How the mail to one recipient stands."""

    recipient = fields.String(required=True)
    kind = Word(RecipientKind, required=True)
    status = Word(
        DeliveryStatus,
        required=True,
        metadata={"description": "`sent`: the relay answered 2xx to the end of the data for this recipient, no less."},
    )
    attempts = fields.Integer(required=True)
    next_attempt_at = Instant(required=True, allow_none=True)
    possible_duplicate = fields.Boolean(
        required=True, metadata={"description": "A second copy may exist: the relay's answer to the first was lost."}
    )
    history = List(Nested(AttemptOut()), required=True)


class TemplateUsed(Answer):
    """The template that a message was made from."""

    name = fields.String(required=True)
    version = fields.String(required=True, allow_none=True)


class NotificationOut(Answer):
    """The status resource."""

    id = fields.UUID(required=True)
    url = fields.String(required=True, metadata={"format": "uri"})
    status = Word(
        NotificationStatus,
        required=True,
        metadata={
            "description": "While a recipient is open, that of the least finished; then the common one, or `partial`."
        },
    )
    created_at = Instant(required=True)
    send_at = Instant(required=True, allow_none=True)
    expires_at = Instant(required=True, allow_none=True)
    finished_at = Instant(required=True, allow_none=True)
    subject = fields.String(required=True, allow_none=True, metadata={"description": "Null once it is purged."})
    template = fields.Nested(TemplateUsed(), required=True, allow_none=True)
    tags = List(fields.String(), required=True)
    metadata = fields.Dict(required=True)
    batch_id = fields.UUID(required=True, allow_none=True)
    message_id = fields.String(required=True, metadata={"description": "The Message-ID header, with its brackets."})
    deliveries = List(Nested(DeliveryOut()), required=True)


class NotificationAccepted(NotificationOut):
    """The status resource of a message that was just accepted."""

    status_token = fields.String(
        metadata={"description": "If it was asked for. An answer that is given again has the first one's."}
    )


class ContentOut(Answer):
    """What was frozen when a message was accepted."""

    subject = fields.String(required=True, metadata={"description": "With the operator's prefix."})
    text = fields.String(required=True, allow_none=True)
    html = fields.String(required=True, allow_none=True)
    attachments = List(Nested(AttachedOut()), required=True)


class NotificationPage(Page):
    """Notifications, newest first."""

    data = List(Nested(NotificationOut()), required=True)
