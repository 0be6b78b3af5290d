"""How the service itself is doing, on the wire."""

from marshmallow import fields

from schemas.base import Answer, Nested


class AliveOut(Answer):
    """The process runs."""

    status = fields.String(required=True, metadata={"enum": ["ok"]})


class CheckOut(Answer):
    """One part of the service."""

    ok = fields.Boolean(required=True)
    detail = fields.String(required=True, metadata={"description": "A sentence for the operator."})


class ChecksOut(Answer):
    """The parts that sending needs."""

    database = Nested(CheckOut(), required=True)
    dispatcher = Nested(CheckOut(), required=True)
    relay = Nested(CheckOut(), required=True)


class ReadyOut(Answer):
    """Whether mail is accepted and sent."""

    status = fields.String(required=True, metadata={"enum": ["ready"]})
    checks = Nested(ChecksOut(), required=True)
