"""The views under /v1/notifications."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from flask import Response, g, jsonify

from api.core import browsers, clock, notifications, search, tokens
from api.core.drafts import Draft
from api.core.errors import FieldError, Invalid, NotAllowed, TooMany
from api.core.models import Delivery, Notification
from api.core.receipts import Ticket
from api.rest import examples, links, mailboxes, pointers, preconditions, queued, waiting
from api.rest.blueprint import Blueprint
from schemas.notifications import (
    NotificationAccepted,
    NotificationIn,
    NotificationOut,
    NotificationPage,
    NotificationQuery,
)
from schemas.vocabulary import DeliveryStatus, Scope

blp = Blueprint("notifications", __name__, url_prefix="/v1/notifications", description="Sending mail, and its status.")

_RESOURCE = NotificationOut()
_WITH_STATUS = ("ETag", "Preference-Applied", "Retry-After", "Vary")


@blp.operation("POST", "", id="send_notification", scope=Scope.NOTIFICATIONS_WRITE)
@blp.body(
    NotificationIn(),
    examples={
        "From a template": examples.FROM_TEMPLATE,
        "Written out": examples.WRITTEN_OUT,
        "With everything": examples.WITH_EVERYTHING,
    },
)
@blp.answers(
    202,
    NotificationAccepted(),
    description="Stored, and sent as soon as possible. `Location` is the status resource.",
    example=examples.QUEUED,
    headers=("Location", "Retry-After"),
)
@blp.once(None, lambda draft: _queued(draft))
def send(body: dict[str, Any], ticket: Ticket | None) -> Any:
    """Send mail, now or at `send_at`.

    The content is rendered before the answer, so whoever can mend a missing variable is told of it. A browser key may
    send one of its templates, in one of `to`, with `data` and `locale` and nothing else: to a user's id, or to the
    address of a user whom it has registered within the last hour. A test key may write to the simulator:
    `delivered`, `deferred`, `expired`, `failed`, `full`, `blocked`, `spam`, `slow` or `lost`, each also as
    `deferred+anything`, at `simulator.example`; to a live key these are wrong (422, `simulated`).
    """
    return _accepted(body, ticket)


@blp.operation("GET", "", id="list_notifications", scope=Scope.NOTIFICATIONS_READ)
@blp.query(NotificationQuery())
@blp.answers(200, NotificationPage(), example=examples.NOTIFICATION_PAGE, headers=("Link",))
def find(query: dict[str, Any]) -> Any:
    """List notifications, newest first."""
    page = search.find(key=g.key, wanted=query.pop("status", None), **query)
    return links.listed(page, shown, "v1", "notifications")


@blp.operation("GET", "/<uuid:notification_id>", id="get_notification", scope=Scope.NOTIFICATIONS_READ)
@blp.or_token
@blp.patient
@waiting.waits
@preconditions.tagged
@blp.answers(200, NotificationOut(), example=examples.NOTIFICATION, headers=_WITH_STATUS)
@blp.also(304, description="Still as the ETag says.", headers=_WITH_STATUS)
def get(notification_id: UUID) -> Any:
    """Show how a notification stands.

    `Retry-After` is there while a recipient is open. With `Prefer: wait=N` the answer comes when it has changed, or
    differs from what `If-None-Match` names, at the latest after N seconds.
    """
    notification = notifications.get(notification_id, key=g.key)
    return shown(notification), _wait(notification)


def shown(notification: Notification) -> dict[str, Any]:
    """Return what the status resource is dumped from."""
    names = ("id", "status", "created_at", "send_at", "expires_at", "finished_at", "subject", "tags", "batch_id")
    template = notification.template_name
    return {
        **{name: getattr(notification, name) for name in (*names, "message_id")},
        "url": _url(notification),
        "template": template and {"name": template, "version": notification.template_version},
        "metadata": notification.metadata_,
        "deliveries": [_delivery(delivery) for delivery in notification.deliveries],
    }


def represented(notification: Notification) -> Response:
    """Return the status resource as a GET answers it."""
    return jsonify(_RESOURCE.dump(shown(notification)))


def followed(notification: Notification) -> dict[str, str]:
    """Return the headers that lead to the status resource of what was queued."""
    return {"Location": _url(notification), **_wait(notification)}


def _delivery(delivery: Delivery) -> dict[str, Any]:
    names = ("recipient", "kind", "status", "attempts", "possible_duplicate", "history")
    # Otherwise `due_at` is the end of a lease, or of no meaning any more.
    waits = delivery.status in (DeliveryStatus.QUEUED, DeliveryStatus.DEFERRED)
    return {
        **{name: getattr(delivery, name) for name in names},
        "next_attempt_at": delivery.due_at if waits else None,
    }


def _url(notification: Notification) -> str:
    return links.to("v1", "notifications", notification.id)


def _wait(notification: Notification) -> dict[str, str]:
    """Return Retry-After while a recipient is open: until the next attempt, within bounds."""
    dues = [
        clock.utcnow() if delivery.status is DeliveryStatus.SENDING else delivery.due_at
        for delivery in notification.deliveries
        if delivery.finished_at is None
    ]
    if not dues:
        return {}
    return {"Retry-After": queued.waiting((min(dues) - clock.utcnow()).total_seconds())}


def _queued(draft: Draft) -> tuple[dict[str, Any], int, Mapping[str, str]]:
    body, headers = queued.answer(draft, hides=_hides_recipient())
    if g.mint is not None:
        body["status_token"] = g.mint(draft.id, g.key.mode)
    return body, 202, headers


def _hides_recipient() -> bool:
    """Tell whether a browser wrote to a user by an id: then the address is nothing to tell it."""
    given = g.body.get("to", ())
    to = given if isinstance(given, list) else [given]
    return g.key.is_browser and any(isinstance(one, dict) and "user_id" in one for one in to)


def _refuse_token() -> None:
    """Raise NotAllowed for a token that would show the recipient's address to a browser that does not know it."""
    if g.body.get("status_token") and _hides_recipient():
        detail = "The status of mail to a user's id is not for browsers: it names the user's address."
        raise NotAllowed(detail, errors=[FieldError("/status_token", detail, "not_allowed")])


def _accepted(body: dict[str, Any], ticket: Ticket | None) -> Draft:
    # Before the message's own transaction, in which the answer that will be given again is written.
    g.mint = tokens.minter() if body.pop("status_token") else None
    message = mailboxes.loaded(body)
    try:
        browsers.check_message(message, key=g.key)
        _refuse_token()
        return notifications.post(key=g.key, ticket=ticket, **message)
    except (Invalid, NotAllowed, TooMany) as error:
        raise pointers.aimed(error, g.body) from None
