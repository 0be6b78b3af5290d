"""The Idempotency-Key header: a request that is sent again under the same key is carried out once.

After draft-ietf-httpapi-idempotency-key-header, which has the key quoted; it is taken bare as well.
"""

import functools
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from flask import Response, g, request
from marshmallow import Schema
from werkzeug.exceptions import BadRequest
from werkzeug.wsgi import ClosingIterator

from api.core import jsontext, receipts
from api.core.errors import TwinRunning
from api.core.receipts import Answer, Ticket

LONGEST = 255
if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

#: From what a use-case returned to the body that a schema dumps, the status, and the headers.
Picture = Callable[[Any], tuple[Any, int, Mapping[str, str]]]

_BARE = re.compile(r"[ -~]+")
#: A string as RFC 8941 §3.3.3 has it.
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_WRONG = f"The Idempotency-Key must be 1 to {LONGEST} printable ASCII characters, bare or as a quoted string."


def once(schema: Schema | None, picture: Picture) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Answer a request that was carried out before as it was answered then.

    The view is called with a `ticket`, None without the header, which its use-case stores the answer with; it
    returns what the use-case does, and `picture` and `schema` make the answer of that; without a schema, what
    `picture` returns is plain JSON already.
    """

    def write(result: Any) -> Answer:
        shown, status, headers = picture(result)
        return Answer(status, headers, jsontext.dump(shown if schema is None else schema.dump(shown)))

    def decorator(view: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(view)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            name = key(request.headers.get("Idempotency-Key"))
            if name is None:
                return _response(write(view(*args, ticket=None, **kwargs)))
            ticket = Ticket(g.key.id, str(request.endpoint), name, fingerprint(g.body), write)
            return _answered(ticket, functools.partial(view, *args, ticket=ticket, **kwargs))

        return wrapper

    return decorator


def key(header: str | None) -> str | None:
    """Return the key in the header's value, None without one; both forms of a text are one key. Raises BadRequest."""
    if header is None:
        return None
    header = header.strip(" \t")
    if header.startswith('"'):
        quoted = _QUOTED.fullmatch(header)
        text = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else ""
    else:
        text = header
    if len(text) > LONGEST or _BARE.fullmatch(text) is None:
        raise BadRequest(_WRONG)
    return text


def fingerprint(body: Any) -> str:
    """Return the SHA-256 of a JSON value, in hex; the order of names and the white space do not count."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _answered(ticket: Ticket, work: Callable[[], Any]) -> Response:
    before = receipts.find(ticket)
    if before is None:
        try:
            with receipts.running(ticket):
                result = work()
            return _response(ticket.answer or ticket.write(result))
        except TwinRunning:
            # A twin, here or in another process, may be done by now.
            before = receipts.find(ticket)
            if before is None:
                raise
    response = _response(before)
    response.headers["Idempotent-Replayed"] = "true"
    return response


class _Whole(Response):
    """An answer to a POST that is complete as it stands: no link in it to be made absolute, no body to be left out."""

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        start_response(self.status, self.headers.to_wsgi_list())
        whole = [self.get_data()]
        # A list goes out at once, but nobody would close it.
        return ClosingIterator(whole, self.close) if self._on_close else whole


def _response(answer: Answer) -> Response:
    return _Whole(answer.body, answer.status, answer.headers, mimetype="application/json")
