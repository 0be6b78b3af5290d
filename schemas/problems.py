"""What an error looks like: RFC 9457."""

from marshmallow import fields

from schemas.base import Answer, List, Nested
from schemas.health import ChecksOut

_CODES = """\
A word for programs. Of values: `required`, `null`, `unknown_field`, `repeated`, `excluded`, `invalid_type`,
`invalid_format`, `invalid_address`, `not_one_of`, `out_of_range`, `too_short`, `too_long`, `too_many`, `bad_text`,
`control_character`. Of what they mean here: `taken`, `sender_not_allowed`, `unknown_template`, `missing_variable`,
`empty_subject`, `bad_data`, `incomplete_template`, `broken_template`, `template_limit`,
`rate_limited`. There may be more one day."""


class WrongField(Answer):
    """One field that is wrong."""

    pointer = fields.String(
        required=True,
        metadata={
            "description": "Where in the body (RFC 6901), empty for all of it; in a query, `/` and the parameter.",
            "example": "/to/0/email",
        },
    )
    detail = fields.String(required=True, metadata={"description": "A sentence for people."})
    code = fields.String(required=True, metadata={"description": _CODES, "example": "required"})


class Problem(Answer):
    """Why a request was not carried out."""

    type = fields.String(required=True, metadata={"format": "uri-reference", "example": "about:blank"})
    title = fields.String(required=True, metadata={"description": "The status in words."})
    status = fields.Integer(required=True)
    detail = fields.String(required=True, metadata={"description": "What is wrong this time."})
    instance = fields.String(
        required=True, metadata={"format": "uri-reference", "description": "The path that was asked for."}
    )
    errors = List(Nested(WrongField()), metadata={"description": "Each field that is wrong."})


class NotReady(Problem):
    """Why the service is not ready, part by part."""

    checks = Nested(ChecksOut(), required=True)
