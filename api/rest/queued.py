"""What is answered of a message that was just queued: all is known without asking the table."""

from collections.abc import Mapping
from typing import Any

from api.core.drafts import Draft
from api.rest import links
from schemas.base import rfc3339
from schemas.vocabulary import DeliveryStatus, NotificationStatus

#: Seconds until it is worth asking again: while something is under way, and at most.
SHORTEST_WAIT, LONGEST_WAIT = 2, 60
#: Stands where a browser is not told an address.
HIDDEN = "[hidden]"


def answer(draft: Draft, *, hides: bool = False) -> tuple[dict[str, Any], Mapping[str, str]]:
    """Return what NotificationAccepted would dump of the stored message, and the headers that lead to its status.

    With `hides` the addresses are left out.
    """
    url = links.to("v1", "notifications", draft.id)
    ahead = draft.plan.due_at - draft.created_at
    return _body(draft, url, hides), {"Location": url, "Retry-After": waiting(ahead.total_seconds())}


def waiting(seconds: float) -> str:
    """Return how long to wait before asking how something stands that is to happen in so many seconds."""
    return str(min(max(int(seconds) + 1, SHORTEST_WAIT), LONGEST_WAIT))


def _body(draft: Draft, url: str, hides: bool) -> dict[str, Any]:
    plan = draft.plan
    due = rfc3339(plan.due_at)
    return {
        "id": str(draft.id),
        "url": url,
        "status": NotificationStatus.SCHEDULED if plan.due_at > draft.created_at else NotificationStatus.QUEUED,
        "created_at": due if plan.due_at is draft.created_at else rfc3339(draft.created_at),
        "send_at": plan.send_at and rfc3339(plan.send_at),
        "expires_at": plan.expires_at and rfc3339(plan.expires_at),
        "finished_at": None,
        "subject": draft.content.subject,
        "template": draft.template_name and {"name": draft.template_name, "version": draft.template_version},
        "tags": draft.tags,
        "metadata": draft.metadata,
        "batch_id": None,
        "message_id": draft.content.message_id,
        "deliveries": [
            {
                "recipient": HIDDEN if hides else recipient.email,
                "kind": recipient.kind,
                "status": DeliveryStatus.QUEUED,
                "attempts": 0,
                "next_attempt_at": due,
                "possible_duplicate": False,
                "history": [],
            }
            for recipient in draft.recipients
        ],
    }
