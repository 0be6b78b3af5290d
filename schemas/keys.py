"""API keys on the wire."""

from marshmallow import fields

from schemas.base import Answer, Instant, Line, List, Nested, Page, Request, Word
from schemas.complaints import Length
from schemas.vocabulary import Mode, Scope


class KeyIn(Request):
    """A key to make."""

    name = Line(required=True, longest=100, metadata={"description": "What it is for.", "example": "web shop"})
    scopes = List(Word(Scope), required=True, validate=Length(1, len(Scope)))
    mode = Word(Mode, metadata={"description": "`test` delivers to the captured inbox only; if left out, as yours."})


class KeyOut(Answer):
    """A key, by its last four characters."""

    id = fields.UUID(required=True)
    name = fields.String(required=True)
    hint = fields.String(required=True, metadata={"description": "The last four characters."})
    mode = Word(Mode, required=True)
    scopes = List(Word(Scope), required=True)
    created_at = Instant(required=True)
    revoked_at = Instant(required=True, allow_none=True)


class NewKeyOut(KeyOut):
    """A key that was just made, with its secret."""

    key = fields.String(required=True, metadata={"description": "The secret. It is shown here and never again."})


class KeyPage(Page):
    """Keys, newest first, the revoked ones too."""

    data = List(Nested(KeyOut()), required=True)
