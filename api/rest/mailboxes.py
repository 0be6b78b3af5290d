"""Mail addresses and files between the wire and the core."""

from collections.abc import Mapping
from typing import Any

from api.core.claim import Address
from api.core.recipients import Registered
from api.core.uploads import Upload

_LISTS = ("to", "cc", "bcc", "reply_to")


def loaded(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body, as its schema has loaded it, with every address and file as the core has it."""
    had = dict(body)
    for name in _LISTS:
        if name in had:
            had[name] = [Registered(one["user_id"]) if "user_id" in one else _address(one) for one in had[name]]
    if "sender" in had:
        had["sender"] = _address(had["sender"])
    if "attachments" in had:
        had["attachments"] = [Upload(**file) for file in had["attachments"]]
    return had


def _address(given: Mapping[str, str]) -> Address:
    return Address(given["email"], given.get("name"))
