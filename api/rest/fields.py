"""How the document describes the fields of ours that flask-smorest does not know."""

from typing import Any

from schemas.addresses import Mailboxes, Recipients, Sender
from schemas.attachments import LONGEST_LIST, Attachments
from schemas.base import Word

#: A user as a recipient.
REGISTERED: dict[str, Any] = {
    "description": "A recipient who is a registered user, with their address, name and language.",
    "type": "object",
    "properties": {"user_id": {"type": "string", "format": "uuid", "description": "A registered user."}},
    "required": ["user_id"],
    "additionalProperties": False,
}


def configure(api: Any) -> None:
    """Teach flask-smorest the fields."""
    api.ma_plugin.map_to_openapi_type(Word, "string", None)
    api.ma_plugin.converter.add_attribute_function(_addresses2properties)


def _addresses2properties(_converter: Any, field: Any, ret: dict[str, Any], **_kwargs: Any) -> dict[str, Any]:
    """Describe the fields that take an address in several forms."""
    if isinstance(field, Attachments):
        one = {"$ref": ret.pop("$ref")}
        return {"anyOf": [one, {"type": "array", "items": one, "maxItems": LONGEST_LIST}]}
    if not isinstance(field, Sender):
        return {}
    forms = [{"type": "string", "format": "email", "maxLength": 254}, {"$ref": ret.pop("$ref")}]
    if isinstance(field, Recipients):
        forms.append({"$ref": "#/components/schemas/Registered"})
    if isinstance(field, Mailboxes):
        forms.append({"type": "array", "items": {"anyOf": list(forms)}, "maxItems": field.longest})
    return {"anyOf": forms}
