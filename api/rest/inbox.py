"""The views under /v1/inbox."""

from typing import Any
from uuid import UUID

from flask import g

from api.core import inbox
from api.rest import examples, links, opening
from api.rest.blueprint import Blueprint
from schemas.base import ListQuery
from schemas.inbox import InboxPage, OpenedOut
from schemas.vocabulary import Scope

blp = Blueprint("inbox", __name__, url_prefix="/v1/inbox", description="Mail that was caught instead of sent.")


@blp.operation("GET", "", id="list_inbox", scope=Scope.NOTIFICATIONS_READ)
@blp.query(ListQuery())
@blp.answers(200, InboxPage(), example=examples.INBOX_PAGE, headers=("Link",))
def search(query: dict[str, Any]) -> Any:
    """List captured mail, newest first.

    The mail that test keys send, and all mail under `postroom dev`.
    """
    return links.listed(inbox.search(key=g.key, **query), lambda mail: mail, "v1", "inbox")


@blp.operation("GET", "/<uuid:mail_id>", id="get_inbox_mail", scope=Scope.NOTIFICATIONS_READ)
@blp.answers(200, OpenedOut(), example=examples.OPENED)
def get(mail_id: UUID) -> Any:
    """Open a captured mail."""
    mail = inbox.get(mail_id, key=g.key)
    names = ("id", "sender", "recipients", "subject", "received_at")
    return {**{name: getattr(mail, name) for name in names}, **opening.opened(mail.raw)}


@blp.operation("DELETE", "", id="empty_inbox", scope=Scope.NOTIFICATIONS_WRITE)
@blp.answers(204, description="Emptied.")
def empty() -> None:
    """Delete all captured mail that this key can see."""
    inbox.empty(key=g.key)
