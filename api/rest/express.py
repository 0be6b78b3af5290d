"""Express: a plain message from a known key is accepted without the ways of a framework around it.

Finding the route, contexts, hooks and a response object are a third of what an accept costs. What is not plain (see
`_is_plain`), what the schema has any doubt about, and whoever has no key that was good a moment ago, goes the usual way
as if nobody had looked. An error of the core's is raised there, too, and answered as all others are. Both ways call the
same functions for whatever they do, and give the same answer.
"""

import io
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from flask import Flask, request
from marshmallow import ValidationError
from werkzeug.wsgi import ClosingIterator

from api.core import extension, jsontext, keys, notifications, receipts
from api.core.drafts import Draft
from api.core.errors import Invalid, NotAllowed, TooMany, TwinRunning
from api.core.models import ApiKey
from api.core.receipts import Answer, Ticket
from api.rest import (
    arguments,
    auth,
    headers,
    hosts,
    idempotency,
    mailboxes,
    pointers,
    queued,
    strict_json,
    throttle,
    traffic,
)
from schemas.notifications import NotificationIn
from schemas.vocabulary import Scope

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    Next = Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]
#: An answer's body and its headers.
Given = tuple[bytes, list[tuple[str, str]]]

METHOD, PATH = "POST", "/v1/notifications"
#: The view's name, which is that of its receipts.
_ENDPOINT = "notifications.send"
#: Octets of a body that is read before anything else is known of it, where the operator allows as many.
LARGEST = 64 * 1024
_BEARER = "Bearer "
#: Each has a meaning that the usual way knows.
_UNUSUAL = (
    "HTTP_CONTENT_ENCODING",
    "HTTP_TRANSFER_ENCODING",
    "HTTP_ORIGIN",
)
#: In the environ: the error that the usual way is to raise.
_FAILED = "postroom.failed"
_STATUS = "202 ACCEPTED"
_SCHEMA = NotificationIn()


class Express:
    """The WSGI application (PEP 3333) in front of the app's own."""

    def __init__(self, app: Flask, usual: "Next") -> None:
        self._app = app
        self._usual = usual
        self._counted_as = traffic.name(METHOD, PATH, 202)
        self._largest = min(LARGEST, app.config["MAX_CONTENT_LENGTH"])

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer a request."""
        if environ.get("PATH_INFO") == PATH and environ["REQUEST_METHOD"] == METHOD:
            size = _size(environ)
            if 0 < size <= self._largest and _is_plain(environ):
                answer = self._accepted(environ, size)
                if answer is not None:
                    start_response(_STATUS, answer[1])
                    return self._counted(answer[0])
        return self._usual(environ, start_response)

    def _accepted(self, environ: "WSGIEnvironment", size: int) -> "Given | None":
        """Accept the message and return the answer; None if it is to go the usual way."""
        token = extension.serve(self._app)
        try:
            return _carried(environ, size)
        except TwinRunning:
            return None  # what became of the twin is found out there
        except Exception as error:  # noqa: BLE001 -- it is raised again where errors are answered
            environ[_FAILED] = error
            return None
        finally:
            extension.end(token)

    def _counted(self, content: bytes) -> Iterable[bytes]:
        counter = traffic.of(self._app)
        if counter.count(self._counted_as):
            return ClosingIterator([content], traffic.storing(self._app))
        return [content]


def configure(app: Flask) -> None:
    """Go before the app; after all else that looks at requests, because of what is raised here."""
    app.wsgi_app = Express(app, app.wsgi_app)  # type: ignore[method-assign]

    def raise_what_failed() -> None:
        failed: Exception | None = request.environ.get(_FAILED)
        if failed is not None:
            raise failed

    app.before_request(raise_what_failed)


def _carried(environ: "WSGIEnvironment", size: int) -> "Given | None":
    key = keys.recall(environ["HTTP_AUTHORIZATION"][len(_BEARER) :])
    if key is None or key.is_browser or not auth.may(key, Scope.NOTIFICATIONS_WRITE):
        return None
    if not hosts.is_ours(environ.get("HTTP_HOST", "")):
        return None
    octets = arguments.whole(environ["wsgi.input"], size)
    environ["wsgi.input"] = io.BytesIO(octets)
    try:
        value = strict_json.parse(octets)
        message = _SCHEMA.load_at_once(value)
    except (strict_json.NotJson, ValidationError):
        return None
    ticket = _ticket(environ, key, value)
    is_known = ticket is not None and receipts.find(ticket) is not None
    if is_known or message.pop("status_token") or not throttle.count(environ, key):
        return None
    draft = _stored(key, ticket, value, message)
    answer = (ticket and ticket.answer) or _written(draft)
    return answer.body, [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(answer.body))),
        *answer.headers.items(),
        *throttle.told(environ),
        *headers.always(environ),
    ]


def _ticket(environ: "WSGIEnvironment", key: ApiKey, value: Any) -> Ticket | None:
    """Return what a repetition of the request will be known by. Raises BadRequest for a name that is none."""
    name = idempotency.key(environ.get("HTTP_IDEMPOTENCY_KEY"))
    return None if name is None else Ticket(key.id, _ENDPOINT, name, idempotency.fingerprint(value), _written)


def _stored(key: ApiKey, ticket: Ticket | None, value: Any, message: dict[str, Any]) -> Draft:
    """Store the message. Raises what `notifications.post` does, and TwinRunning."""
    try:
        with receipts.running(ticket) if ticket else nullcontext():
            return notifications.post(key=key, ticket=ticket, **mailboxes.loaded(message))
    except (Invalid, NotAllowed, TooMany) as error:
        raise pointers.aimed(error, value) from None


def _written(draft: Draft) -> Answer:
    body, leading = queued.answer(draft)
    return Answer(202, leading, jsontext.dump(body))


def _is_plain(environ: "WSGIEnvironment") -> bool:
    return (
        environ.get("CONTENT_TYPE") == "application/json"
        and environ.get("HTTP_AUTHORIZATION", "").startswith(_BEARER)
        and not environ.get("QUERY_STRING")
        and not environ.get("SCRIPT_NAME")
        and not any(name in environ for name in _UNUSUAL)
    )


def _size(environ: "WSGIEnvironment") -> int:
    """Return how long the body is said to be, 0 if nothing plain is said of it."""
    said = environ.get("CONTENT_LENGTH") or ""
    return int(said) if len(said) < 8 and said.isascii() and said.isdecimal() else 0
