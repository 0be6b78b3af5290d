"""Mail addresses and files between the wire and the core."""

from collections.abc import Mapping
from typing import Any

from api.core.claim import Address
from api.core.recipients import Registered
from api.core.uploads import Upload

_LISTS = frozenset({"to", "cc", "bcc", "reply_to"})


def loaded(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body, as its schema has loaded it, with every address and file as the core has it."""
    return {name: _value(name, value) for name, value in body.items()}


def _value(name: str, value: Any) -> Any:
    if name in _LISTS:
        return [Registered(one["user_id"]) if "user_id" in one else _address(one) for one in value]
    if name == "attachments":
        return [Upload(**file) for file in value]
    return _address(value) if name == "sender" else value


def _address(given: Mapping[str, str]) -> Address:
    return Address(given["email"], given.get("name"))
