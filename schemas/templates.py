"""Templates on the wire."""

from marshmallow import fields

from schemas.base import Answer, JsonObject, List, Nested, Page, Request, String
from schemas.complaints import Length
from schemas.users import LOCALE


class TemplateOut(Answer):
    """What can be told of a template."""

    name = fields.String(required=True)
    version = fields.String(required=True, metadata={"description": "Changes with the sources."})
    variables = List(
        fields.String(),
        required=True,
        metadata={"description": "Found in the sources; a dotted one is a field of an object."},
    )
    locales = List(fields.String(), required=True, metadata={"description": "The languages it has variants for."})
    has_subject = fields.Boolean(required=True, metadata={"description": "If not, the request gives the subject."})
    example = fields.Dict(required=True, allow_none=True, metadata={"description": "Data that it can be tried with."})


class TemplatePage(Page):
    """All templates by name, on one page."""

    data = List(Nested(TemplateOut()), required=True)


class PreviewIn(Request):
    """Data to try a template with."""

    data = JsonObject(largest=256 * 1024, metadata={"description": "The template's variables: at most 256 KiB."})
    locale = String(validate=[Length(2, 35), LOCALE], metadata={"example": "en"})


class PreviewOut(Answer):
    """What a mail would hold; the operator's subject prefix is not in it."""

    subject = fields.String(required=True, allow_none=True)
    text = fields.String(required=True)
    html = fields.String(required=True)
