"""Captured mail on the wire."""

from marshmallow import fields

from schemas.base import Answer, Instant, List, Nested, Page


class CaptureOut(Answer):
    """A captured mail, by its envelope."""

    id = fields.UUID(required=True)
    sender = fields.String(required=True, data_key="from", metadata={"description": "The envelope's sender."})
    recipients = List(
        fields.String(), required=True, data_key="to", metadata={"description": "The envelope's recipients."}
    )
    subject = fields.String(required=True)
    received_at = Instant(required=True)


class HeaderOut(Answer):
    """A header, decoded."""

    name = fields.String(required=True)
    value = fields.String(required=True)


class AttachmentOut(Answer):
    """A file in a captured mail, without its bytes: those are in `raw`."""

    filename = fields.String(required=True, allow_none=True)
    content_type = fields.String(required=True)
    size = fields.Integer(required=True, metadata={"description": "In bytes."})
    content_id = fields.String(required=True, allow_none=True)


class OpenedOut(CaptureOut):
    """A captured mail with all that is in it."""

    headers = List(Nested(HeaderOut()), required=True, metadata={"description": "In their order, repeated ones too."})
    text = fields.String(required=True, allow_none=True)
    html = fields.String(required=True, allow_none=True)
    attachments = List(Nested(AttachmentOut()), required=True)
    raw = fields.String(required=True, metadata={"description": "The message as it came."})
    raw_encoding = fields.String(
        required=True, metadata={"enum": ["utf-8", "base64"], "description": "`base64` if `raw` would be no text."}
    )


class InboxPage(Page):
    """Captured mail, newest first."""

    data = List(Nested(CaptureOut()), required=True)
