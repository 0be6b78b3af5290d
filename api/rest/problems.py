"""Every error as a problem (RFC 9457): one table from what happened to its status, and not a word of the inside."""

from collections.abc import Iterable, Mapping
from typing import Any

from flask import Flask, Response, current_app, json, request
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, NotSupportedError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from api.core import errors, postgresql
from api.core.errors import FieldError, PostroomError
from api.rest import links

MEDIA_TYPE = "application/problem+json"
#: Errors in one answer; who has more to mend starts with these.
MAX_ERRORS = 1000

STATUS: Mapping[type[PostroomError], int] = {
    PostroomError: 500,
    errors.BadCursor: 400,
    errors.NotFound: 404,
    errors.UnknownTemplate: 404,
    errors.NotAllowed: 403,
    errors.Conflict: 409,
    errors.TwinRunning: 409,
    errors.StaleVersion: 412,
    errors.Gone: 410,
    errors.Invalid: 422,
    errors.MissingVariables: 422,
    errors.BadTemplate: 422,
    errors.TooMany: 429,
    errors.Unavailable: 503,
    errors.QueueFull: 503,
}

#: The titles, spelled as RFC 9110 has them, which not every version of our libraries does; and what is said
#: where nobody has said anything better.
TITLES: Mapping[int, tuple[str, str]] = {
    400: ("Bad Request", "The request cannot be understood."),
    401: ("Unauthorized", "An API key is needed: Authorization: Bearer <key>."),
    403: ("Forbidden", "This key may not do that."),
    404: ("Not Found", "There is nothing at this address."),
    405: ("Method Not Allowed", "The resource does not take this method."),
    406: ("Not Acceptable", "It cannot be had in the form that the Accept header asks for."),
    409: ("Conflict", "The state of the resource does not allow that."),
    410: ("Gone", "It was here, and is purged."),
    412: ("Precondition Failed", "The resource has changed since it was read."),
    413: ("Content Too Large", "The body is too large."),
    415: ("Unsupported Media Type", "The Content-Type must be application/json, in UTF-8."),
    422: ("Unprocessable Content", "The request holds fields that are wrong."),
    428: ("Precondition Required", "Say which version is meant, with If-Match."),
    429: ("Too Many Requests", "That is more than the rate allows. Try again after Retry-After."),
    500: ("Internal Server Error", "Something went wrong here. The request id leads the operator to what."),
    503: ("Service Unavailable", "The database cannot be reached just now. Try again soon."),
}
#: Raised by code of ours that is wrong; trying again would not help.
_OUR_FAULT = (IntegrityError, ProgrammingError, DataError, NotSupportedError)
RETRY_SECONDS = 5


def configure(app: Flask) -> None:
    """Turn into problems what the core and the database raise; HTTP errors come by way of the Api."""
    app.register_error_handler(PostroomError, from_core)
    app.register_error_handler(DBAPIError, from_database)
    app.register_error_handler(PoolTimeout, from_database)


def respond(
    status: int,
    detail: str | None = None,
    *,
    wrong: Iterable[FieldError] = (),
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> Response:
    """Return a problem as an answer; `members` are further members of it."""
    title, usual = TITLES.get(status, ("Error", "The request was not carried out."))
    problem = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail or usual,
        "instance": links.path(request.path),
        **members,
    }
    told = [{"pointer": one.pointer, "detail": one.detail, "code": one.code} for one in wrong]
    if told:
        problem["errors"] = told[:MAX_ERRORS]
    if len(told) > MAX_ERRORS:
        problem["detail"] = f"{problem['detail']} These are the first {MAX_ERRORS} of {len(told)} errors."
    return current_app.response_class(json.dumps(problem), status, headers, content_type=MEDIA_TYPE)


def from_core(error: PostroomError) -> Response:
    """Answer what a use-case raised."""
    headers = None
    if isinstance(error, errors.Unavailable | errors.TwinRunning | errors.TooMany):
        headers = {"Retry-After": str(error.retry_after)}
    return respond(STATUS[type(error)], error.detail, wrong=error.errors, headers=headers)


def from_http(error: HTTPException) -> Response:
    """Answer what Flask, Werkzeug or a view of ours raised, with the headers that belong to it."""
    status = error.code or 500
    headers = {name: value for name, value in error.get_headers() if name.lower() != "content-type"}
    # Werkzeug's own sentences speak of browsers and forms.
    said = error.description if error.description != type(error).description else None
    return respond(status, None if status == 500 else said, headers=headers)


def from_database(error: Exception) -> Response:
    """Answer 503 when the database cannot be read just now, and raise what is our own fault."""
    if isinstance(error, _OUR_FAULT) and not postgresql.is_unfit(error):
        raise error
    current_app.logger.error("the database cannot be read", exc_info=error)
    return respond(503, headers={"Retry-After": str(RETRY_SECONDS)})
