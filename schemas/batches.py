"""Batches on the wire: one message for many, each with data of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from marshmallow import ValidationError, fields, validates_schema

from schemas.addresses import Mailboxes, Recipients, Sender
from schemas.attachments import Attachments
from schemas.base import Answer, Instant, JsonObject, Line, List, Nested, Request, String, Word
from schemas.complaints import Coded, Length, Sayings, wrong
from schemas.headers import Headers
from schemas.notifications import LONGEST_BODY, LONGEST_LIST, beside_a_template, without_a_template
from schemas.problems import WrongField
from schemas.text import not_blank
from schemas.users import LOCALE
from schemas.vocabulary import DeliveryStatus

MAX_MESSAGES = 1000


class OnError(StrEnum):
    """What becomes of a batch that holds wrong messages."""

    #: Nothing is queued, and every wrong message is named.
    REJECT_ALL = "reject_all"
    #: The right ones are queued.
    ACCEPT_VALID = "accept_valid"


class BatchMessage(Request):
    """One message of a batch: whom it goes to, and what is its own of the template's variables."""

    to = Recipients(
        longest=LONGEST_LIST, metadata={"description": "At most 50 different recipients in all three lists."}
    )
    cc = Recipients(longest=LONGEST_LIST)
    bcc = Recipients(longest=LONGEST_LIST, metadata={"description": "Named in no header."})
    reply_to = Mailboxes(longest=50)
    data = JsonObject(largest=256 * 1024, metadata={"description": "Laid over the shared data, name by name."})
    locale = String(
        validate=[Length(2, 35), LOCALE],
        metadata={
            "description": "Instead of the shared one. If there is neither: that of the recipients, where they all are "
            "users of the same language."
        },
    )
    subject = Line(not_blank, longest=998, metadata={"description": "Instead of the shared or the template's."})
    attachments = Attachments(metadata={"description": "Instead of the shared ones."})
    headers = Headers(metadata={"description": "Instead of the shared ones.", "example": {"X-Order": "7"}})
    send_at = Instant(metadata={"description": "Instead of the shared one.", "example": "2027-01-01T09:00:00Z"})
    expires_at = Instant(metadata={"description": "Instead of the shared one.", "example": "2027-01-02T09:00:00Z"})
    tags = List(Line(longest=64), validate=Length(max=10), metadata={"example": ["orders"]})
    metadata = JsonObject(largest=8 * 1024, entries=50)


@dataclass(frozen=True, slots=True)
class Wrong:
    """A message that cannot be read: marshmallow's tree of what is wrong with it."""

    messages: Any


class Messages(Coded, fields.List[Any]):
    """Up to 1,000 messages, each loaded for itself: a wrong one becomes a `Wrong` in its place."""

    SAYS: ClassVar[Sayings] = {"invalid": ("invalid_type", "Must be a list.")}
    _schema = BatchMessage()

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(fields.Nested(BatchMessage()), validate=Length(1, MAX_MESSAGES), **kwargs)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> list[Any]:
        if not isinstance(value, list):
            raise self.make_error("invalid")
        if len(value) > MAX_MESSAGES:
            raise wrong(f"At most {MAX_MESSAGES} entries; these are {len(value)}.", "too_long")
        return [self._one(one) for one in value]

    def _one(self, value: Any) -> Mapping[str, Any] | Wrong:
        try:
            loaded: Mapping[str, Any] = self._schema.load(value)
        except ValidationError as error:
            return Wrong(error.messages)
        return loaded


class BatchIn(Request):
    """Up to 1,000 messages from one template, or from a shared subject with text, html or both."""

    template = String(validate=Length(1, 64), metadata={"description": "A template's name.", "example": "welcome"})
    data = JsonObject(
        largest=256 * 1024, metadata={"description": "The variables that all messages share: at most 256 KiB."}
    )
    locale = String(validate=[Length(2, 35), LOCALE], metadata={"description": "Of messages that name none."})
    subject = Line(not_blank, longest=998, metadata={"description": "Of messages that bring none."})
    text = String(validate=Length(1, LONGEST_BODY))
    html = String(validate=Length(1, LONGEST_BODY))
    sender = Sender(data_key="from", metadata={"description": "Must be on the operator's list of senders."})
    reply_to = Mailboxes(longest=50, metadata={"description": "Of messages that bring none."})
    attachments = Attachments(
        metadata={
            "description": "Files of messages that bring none. All files of all messages come to 64 MiB at most, "
            "together with the texts."
        }
    )
    headers = Headers(metadata={"description": "Of messages that bring none.", "example": {"X-Campaign": "spring"}})
    send_at = Instant(metadata={"description": "Of messages that bring none.", "example": "2027-01-01T09:00:00Z"})
    expires_at = Instant(metadata={"description": "Of messages that bring none.", "example": "2027-01-02T09:00:00Z"})
    tags = List(Line(longest=64), validate=Length(max=10), metadata={"description": "Of messages that bring none."})
    metadata = JsonObject(largest=8 * 1024, entries=50, metadata={"description": "Of messages that bring none."})
    messages = Messages(required=True)
    on_error = Word(OnError, load_default=OnError.REJECT_ALL)

    @validates_schema
    def _has_one_content(self, data: dict[str, Any], **_kwargs: Any) -> None:
        errors = beside_a_template(data) if "template" in data else without_a_template(data)
        if errors:
            raise ValidationError(errors)


class BatchQueued(Answer):
    """What became of one message of a batch."""

    index = fields.Integer(required=True, metadata={"description": "Its place in `messages`, from 0."})
    id = fields.UUID(required=True, allow_none=True, metadata={"description": "The notification's; null if refused."})
    errors = List(Nested(WrongField()), metadata={"description": "Why it was refused."})


class BatchOut(Answer):
    """How a batch stands."""

    id = fields.UUID(required=True)
    url = fields.String(required=True, metadata={"format": "uri"})
    created_at = Instant(required=True)
    total = fields.Integer(required=True, metadata={"description": "Messages that were queued."})
    counts = fields.Dict(
        keys=fields.Enum(DeliveryStatus, by_value=True),
        values=fields.Integer(),
        required=True,
        metadata={"description": "Deliveries, one for each recipient of each message, by status."},
    )
    progress = fields.Float(
        required=True,
        metadata={"minimum": 0, "maximum": 1, "description": "The share of deliveries that are finished."},
    )


class BatchAccepted(BatchOut):
    """A batch that was just queued, message by message."""

    results = List(Nested(BatchQueued()), required=True)
