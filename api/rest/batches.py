"""The views under /v1/batches."""

from typing import Any
from uuid import UUID

from flask import g

from api.core import batches
from api.core.batches import Refused, Standing
from api.core.errors import FieldError, Invalid, NotAllowed, TooMany
from api.core.receipts import Ticket
from api.rest import examples, links, mailboxes, pointers
from api.rest.blueprint import Blueprint
from schemas.batches import BatchAccepted, BatchIn, BatchOut, OnError, Wrong
from schemas.vocabulary import Scope

blp = Blueprint("batches", __name__, url_prefix="/v1/batches", description="One message for many, each with its own.")

#: Seconds after which a batch that has just been queued is worth asking for.
FIRST_LOOK = "2"


@blp.operation("POST", "", id="send_batch", scope=Scope.NOTIFICATIONS_WRITE)
@blp.body(BatchIn(), examples={"From a template": examples.BATCH, "Written out": examples.PLAIN_BATCH})
@blp.answers(
    202,
    BatchAccepted(),
    description="Stored, all of it at once, and sent as soon as possible. `Location` is how the batch stands.",
    example=examples.BATCH_QUEUED,
    headers=("Location", "Retry-After"),
)
@blp.once(BatchAccepted(), lambda standing: _queued(standing))
def send(body: dict[str, Any], ticket: Ticket | None) -> Any:
    """Send up to 1,000 personalised messages.

    With `on_error` `reject_all` one wrong message is enough for a 422 that names every wrong one, and nothing is
    queued. With `accept_valid` the others are queued, and `results` tells what is wrong with the rest; if all of
    them are wrong, it is a 422, too.
    """
    return _accepted(body, ticket)


@blp.operation("GET", "/<uuid:batch_id>", id="get_batch", scope=Scope.NOTIFICATIONS_READ)
@blp.answers(200, BatchOut(), example=examples.BATCH_STANDING)
def get(batch_id: UUID) -> Any:
    """Show how a batch stands.

    Its messages are listed at `/v1/notifications?batch_id=`.
    """
    return _shown(batches.get(batch_id, key=g.key))


@blp.operation("POST", "/<uuid:batch_id>/cancel", id="cancel_batch", scope=Scope.NOTIFICATIONS_WRITE)
@blp.answers(200, BatchOut(), example=examples.BATCH_CANCELLED)
@blp.fails(409)
def cancel(batch_id: UUID) -> Any:
    """Cancel what waits of a batch.

    What is being sent is not tried again if it fails. Once all is finished there is nothing to cancel (409).
    """
    return _shown(batches.cancel(batch_id, key=g.key))


def _accepted(body: dict[str, Any], ticket: Ticket | None) -> Standing:
    shared = mailboxes.loaded(body)
    messages = [
        Refused(tuple(pointers.errors(one.messages))) if isinstance(one, Wrong) else mailboxes.loaded(one)
        for one in shared.pop("messages")
    ]
    partly = shared.pop("on_error") is OnError.ACCEPT_VALID
    try:
        return batches.accept(key=g.key, messages=messages, partly=partly, ticket=ticket, **shared)
    except (Invalid, NotAllowed, TooMany) as error:
        error.errors = tuple(_placed(one) for one in error.errors)
        raise


def _queued(standing: Standing) -> tuple[dict[str, Any], int, dict[str, str]]:
    results = [
        {
            "index": one.index,
            "id": one.id,
            **({"errors": [_placed(error) for error in one.errors]} if one.errors else {}),
        }
        for one in standing.items
    ]
    return {**_shown(standing), "results": results}, 202, {"Location": _url(standing), "Retry-After": FIRST_LOOK}


def _shown(standing: Standing) -> dict[str, Any]:
    batch = standing.batch
    return {
        "id": batch.id,
        "url": _url(standing),
        "created_at": batch.created_at,
        "total": batch.total,
        "counts": standing.counts,
        "progress": standing.progress,
    }


def _placed(error: FieldError) -> FieldError:
    """Return the error with a pointer to a place that the body has, where an address was given in a shorter form."""
    names = error.pointer.split("/", 3)[1:]
    if len(names) < 3 or names[0] != "messages":
        return pointers.within(g.body, error)
    inner = pointers.within(g.body["messages"][int(names[1])], FieldError(f"/{names[2]}", error.detail, error.code))
    return FieldError(f"/messages/{names[1]}{inner.pointer}", inner.detail, inner.code)


def _url(standing: Standing) -> str:
    return links.to("v1", "batches", standing.batch.id)
