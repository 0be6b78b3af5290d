"""The view of /v1/notifications/{id}/events: how a notification stands, told anew with each change.

The form is that of server-sent events (WHATWG HTML, "Server-sent events"), which browsers read with EventSource.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from flask import Flask, Response, current_app, g, request
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import NotAcceptable

from api.core import notifications, watch
from api.core.errors import NotFound
from api.core.models import ApiKey
from api.core.watch import Mark, Seat
from api.rest import preconditions
from api.rest.notifications import blp, represented
from schemas.vocabulary import Scope

MEDIA_TYPE = "text/event-stream"
#: Seconds without an event after which a comment keeps proxies from giving up, and finds out who has gone.
KEEP_ALIVE = 15.0
#: Seconds after which a stream ends in any case; EventSource then asks again by itself.
LONGEST = 300.0
#: Milliseconds until it asks again.
RETRY_MS = 3000
_HEADERS = {
    "Cache-Control": "no-store",
    # nginx would otherwise collect events until a buffer is full
    "X-Accel-Buffering": "no",
}
_EXAMPLE = """\
retry: 3000

id: "5d41402abc4b2a76b9719d911017c592aeb3e0d6"
event: status
data: {"id": "01900000-0000-7000-8000-000000000000", "status": "sent", "deliveries": []}

event: finished
data: {"status": "sent"}

"""


@dataclass(frozen=True, slots=True)
class State:
    """How a notification stands: its representation, the ETag of that with quotes, and the mark to wait by."""

    status: str
    text: str
    etag: str
    mark: Mark


@blp.operation("GET", "/<uuid:notification_id>/events", id="follow_notification", scope=Scope.NOTIFICATIONS_READ)
@blp.or_token
@blp.events(
    description="Events `status`: the status resource as `data`, its ETag as `id`; the first at once, then one for "
    "each change. After the last, `finished` with `status`, and the stream ends. Comments keep it alive.",
    example=_EXAMPLE,
)
@blp.also(204, description="Finished, as `Last-Event-ID` says: do not ask again.")
@blp.fails(406)
def follow(notification_id: UUID) -> Any:
    """Follow a notification by server-sent events.

    Needs `Accept: text/event-stream`. The stream ends when the notification is finished, else after five minutes;
    `Last-Event-ID`, which EventSource sends when it asks again, leaves out the state that the caller has seen. 503
    while too many follow or wait.
    """
    if request.accept_mimetypes[MEDIA_TYPE] <= 0:
        raise NotAcceptable(f"Only {MEDIA_TYPE} can be had here: say so in the Accept header.")
    seen = request.headers.get("Last-Event-ID", "").strip()
    first = read(notification_id, g.key)
    if first.mark.is_finished and first.etag == seen:
        return Response(status=204)
    watch.pause()
    if request.method == "HEAD":
        return Response(mimetype=MEDIA_TYPE, headers=_HEADERS)
    seat = watch.current().seat(notification_id, key=g.key)
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]  # Flask's documented way
    response = Response(_events(app, seat, notification_id, g.key, first, seen), mimetype=MEDIA_TYPE, headers=_HEADERS)
    # Also where not a word of the stream was asked for.
    response.call_on_close(seat.leave)
    return response


def read(notification_id: UUID, key: ApiKey) -> State:
    """Return how a notification stands. Raises NotFound."""
    mark = watch.mark(notification_id)
    notification = notifications.get(notification_id, key=key)
    body = represented(notification)
    return State(notification.status, body.get_data(as_text=True), f'"{preconditions.digest(body)}"', mark)


def event(name: str, data: str, *, id_: str | None = None) -> str:
    """Return an event as it is written on the stream."""
    lines = [f"event: {name}", *(f"data: {line}" for line in data.splitlines())]
    return "\n".join([*([] if id_ is None else [f"id: {id_}"]), *lines, "", ""])


def _events(app: Flask, seat: Seat, id_: UUID, key: ApiKey, state: State, seen: str) -> Iterator[str]:
    ends = time.monotonic() + LONGEST
    yield f"retry: {RETRY_MS}\n\n"
    while True:
        if state.etag != seen:
            yield event("status", state.text, id_=state.etag)
            seen = state.etag
        if state.mark.is_finished:
            yield event("finished", f'{{"status": "{state.status}"}}')
            return
        while not seat.wait(id_, state.mark, min(KEEP_ALIVE, ends - time.monotonic())):
            if time.monotonic() >= ends:
                return
            yield ": still there\n\n"
        if seat.is_over:
            return
        try:
            with app.app_context():
                state = read(id_, key)
        except (NotFound, DBAPIError, PoolTimeout):
            return  # whoever asks again is told what it is
