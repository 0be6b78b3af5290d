"""Relays on the wire."""

from marshmallow import fields

from schemas.base import Answer, Instant, List, Nested, Word
from schemas.vocabulary import Phase, TransportState


class TransportErrorOut(Answer):
    """The last trouble with a relay."""

    at = Instant(required=True)
    phase = Word(Phase, required=True)
    code = fields.Integer(required=True, allow_none=True, metadata={"description": "Null if it said nothing."})
    reply = fields.String(required=True)


class TransportOut(Answer):
    """A relay, and whether mail goes to it."""

    name = fields.String(required=True)
    state = Word(
        TransportState,
        required=True,
        metadata={"description": "`paused`: the relay's fault. `stopped`: its credentials, certificate or settings."},
    )
    since = Instant(required=True)
    next_probe_at = Instant(required=True, allow_none=True)
    last_error = fields.Nested(TransportErrorOut(), required=True, allow_none=True)


class TransportList(Answer):
    """The relays that a dispatcher sends to, or has sent to."""

    data = List(Nested(TransportOut()), required=True)
