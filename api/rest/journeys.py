"""Where an answer leads: OpenAPI's links, from what made a resource to what may be done with it."""

from collections.abc import Mapping
from typing import Any

_ID = "$response.body#/id"
#: By operation and status: the operations that follow, and where each takes its parameters from.
_LINKS: Mapping[tuple[str, str], Mapping[str, Mapping[str, str]]] = {
    **{
        ("register_user", status): {name: {"user_id": _ID} for name in ("get_user", "change_user", "erase_user")}
        for status in ("200", "201", "202")
    },
    ("get_user", "200"): {
        name: {"user_id": "$request.path.user_id", "If-Match": "$response.header.ETag"}
        for name in ("change_user", "erase_user")
    },
    ("send_notification", "202"): {
        name: {"notification_id": _ID}
        for name in (
            "get_notification",
            "cancel_notification",
            "reschedule_notification",
            "retry_notification",
            "get_content",
        )
    },
    ("cancel_notification", "200"): {"retry_notification": {"notification_id": _ID}},
    ("send_batch", "202"): {
        "get_batch": {"batch_id": _ID},
        "cancel_batch": {"batch_id": _ID},
        "list_notifications": {"batch_id": _ID},
    },
    ("create_key", "201"): {"revoke_key": {"key_id": _ID}},
    ("list_inbox", "200"): {"get_inbox_mail": {"mail_id": "$response.body#/data/0/id"}},
    ("list_templates", "200"): {
        name: {"name": "$response.body#/data/0/name"} for name in ("get_template", "preview_template")
    },
}


def lead(paths: Mapping[str, Mapping[str, Any]]) -> None:
    """Add the links to the answers of a document's operations. Raises KeyError for one that leads nowhere."""
    operations = {operation["operationId"]: operation for methods in paths.values() for operation in methods.values()}
    for (source, status), targets in _LINKS.items():
        answer = operations[source]["responses"][status]
        answer["links"] = {
            target: {
                "operationId": operations[target]["operationId"],
                "parameters": dict(parameters),
                "description": operations[target]["summary"],
            }
            for target, parameters in targets.items()
        }
