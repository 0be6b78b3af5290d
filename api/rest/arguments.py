"""How bodies and queries are read: strictly, and always before anything is done with them."""

import re
from typing import IO, Any, NoReturn

from flask import Request, g, request
from marshmallow import Schema, ValidationError
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

from api.core.errors import Invalid
from api.rest import pointers, strict_json
from schemas.complaints import Complaint

#: Bytes of a body that are not attachments: parsed, small values take many times their room.
LARGEST_PLAIN = 5 * 1024 * 1024
_LONG_RUN = re.compile(rb"[A-Za-z0-9+/]{4096,}")

#: What becomes of a field that a schema doesn't know, each schema says for itself.
_SAID_BY_SCHEMA: dict[str, str | None] = {}


class Parser(FlaskParser):
    """Reads `application/json` in UTF-8, and queries in which no parameter stands twice.

    Raises the HTTP errors 400, 413 and 415, and Invalid for fields. The parsed body stays readable as `g.body`.
    """

    DEFAULT_UNKNOWN_BY_LOCATION = _SAID_BY_SCHEMA

    def body(self, schema: Schema) -> Any:
        """Return the request's body, loaded by the schema."""
        value = self.load_json(request._get_current_object(), schema)  # type: ignore[attr-defined]
        try:
            return schema.load(value)
        except ValidationError as error:
            wrong(error.messages, "body")

    def load_json(self, req: Request, schema: Schema) -> Any:
        """Return the body's value."""
        _check_media_type(req)
        try:
            g.body = strict_json.parse(_body(req))
        except strict_json.NotJson as error:
            raise BadRequest(str(error)) from None
        return g.body

    def load_querystring(self, req: Request, schema: Schema) -> Any:
        """Return the query's parameters."""
        twice = [name for name, values in req.args.lists() if len(values) > 1]
        if twice:
            raise ValidationError({name: [Complaint("Stands twice in the query.", "repeated")] for name in twice})
        return super().load_querystring(req, schema)

    def handle_error(self, error: ValidationError, req: Request, schema: Schema, **_options: Any) -> NoReturn:
        """Raise Invalid with every wrong field; webargs has put the messages under the name of where they were."""
        assert isinstance(error.messages, dict)  # noqa: S101 -- webargs just made it
        [(location, messages)] = error.messages.items()
        wrong(messages, "query" if location == "query" else "body")


def wrong(messages: Any, what: str) -> NoReturn:
    """Raise Invalid for the fields that marshmallow complains of, in the query or the body."""
    raise Invalid(f"Fields of the {what} are wrong.", errors=pointers.errors(messages)) from None


def _body(req: Request) -> bytes:
    body = _read(req)
    # Werkzeug cuts a body whose length is not told off at the limit, without a word.
    if req.content_length is None and req.max_content_length is not None and len(body) >= req.max_content_length:
        raise RequestEntityTooLarge
    if len(body) > LARGEST_PLAIN and len(body) - _attached(body) > LARGEST_PLAIN:
        raise RequestEntityTooLarge(f"Without its attachments the body is over {LARGEST_PLAIN // 1024} KiB.")
    return body


def _read(req: Request) -> bytes:
    length, most = req.content_length, req.max_content_length
    if length is None or (most is not None and length > most) or "wsgi.input_terminated" not in req.environ:
        return req.get_data()
    # Werkzeug would ask at least twice, and each time a server's thread waits for others.
    return whole(req.environ["wsgi.input"], length)


def whole(stream: IO[bytes], length: int) -> bytes:
    """Return so many octets of a body, or fewer if no more come."""
    body = stream.read(length)
    while len(body) < length and (more := stream.read(length - len(body))):
        body += more
    return body


def _attached(body: bytes) -> int:
    """Return how many bytes of a body stand in long runs of base64, which parsing makes no larger."""
    return sum(found.end() - found.start() for found in _LONG_RUN.finditer(body))


def _check_media_type(req: Request) -> None:
    if req.environ.get("CONTENT_TYPE") == "application/json" and "HTTP_CONTENT_ENCODING" not in req.environ:
        return  # as nearly all have it
    if req.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("The body must not be compressed: no Content-Encoding.")
    charset = req.mimetype_params.get("charset", "utf-8").lower()
    if req.mimetype != "application/json" or charset not in ("utf-8", "utf8"):
        raise UnsupportedMediaType("The Content-Type must be application/json, in UTF-8.")
