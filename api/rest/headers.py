"""Headers that every answer has, whatever it is."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from flask import Flask, Response, g, request
from flask_cors import CORS

from api.core import ids

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
#: An answer of an API is nothing to run, to frame, or to keep for the next one.
_ALWAYS = [
    (name, name.lower(), value)
    for name, value in {
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }.items()
]
_PAIRS = [(name, value) for name, _, value in _ALWAYS]
#: What a script in a browser may send and read.
_SENT = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Last-Event-ID",
    "Prefer",
    "X-Request-Id",
)
_READ = (
    "Content-Location",
    "ETag",
    "Idempotent-Replayed",
    "Link",
    "Location",
    "Preference-Applied",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "WWW-Authenticate",
    "X-Request-Id",
)
_PREFLIGHT_SECONDS = 600


def configure(app: Flask) -> None:
    """Name every request, and give every answer the headers that keep it harmless in a browser."""

    def name_request() -> None:
        g.request_id = _request_id(request.environ)

    def dress(response: Response) -> Response:
        headers = response.headers
        # Looked through once: each `setdefault` would do that anew.
        there = {name.lower() for name in headers.keys()}  # noqa: SIM118 -- it iterates over pairs
        headers.add("X-Request-Id", g.request_id)
        for name, small, value in _ALWAYS:
            if small not in there:
                headers.add(name, value)
        if response.status_code in (204, 304):
            response.headers.pop("Content-Type", None)  # there is no content
        return response

    app.before_request(name_request)
    app.after_request(dress)


def always(environ: "WSGIEnvironment") -> list[tuple[str, str]]:
    """Return the headers of an answer that has none of them yet."""
    return [("X-Request-Id", _request_id(environ)), *_PAIRS]


def allow_origins(app: Flask, is_allowed: Callable[[], bool]) -> None:
    """Let scripts of the origins that `is_allowed` knows call the API with a key of their own; cookies are never taken.

    Which origins these are changes while we run, and the extension takes a fixed list: it answers everybody, and what
    it says to strangers is taken back.
    """
    CORS(
        app,
        resources=[re.compile(r"/v1/"), re.compile(r"/openapi\.json\Z")],
        origins=[re.compile(r".+")],
        allow_headers=list(_SENT),
        expose_headers=list(_READ),
        methods=["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST"],
        supports_credentials=False,
        max_age=_PREFLIGHT_SECONDS,
        always_send=False,
        intercept_exceptions=False,  # its answers pass through here like all others
    )
    # It would look at every answer, also at those that are for no page.
    answer = app.after_request_funcs[None].pop()

    def share(response: Response) -> Response:
        if "HTTP_ORIGIN" not in request.environ:
            return response
        response = app.ensure_sync(answer)(response)
        if "Access-Control-Allow-Origin" in response.headers and not is_allowed():
            for name in [name for name, _ in response.headers if name.lower().startswith("access-control-")]:
                del response.headers[name]
        return response

    app.after_request(share)


def _request_id(environ: "WSGIEnvironment") -> str:
    given: str | None = environ.get("HTTP_X_REQUEST_ID")
    return given if given and _REQUEST_ID.fullmatch(given) else ids.token()
