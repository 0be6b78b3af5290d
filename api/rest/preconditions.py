"""Conditional requests (RFC 9110 §13): not to be told again what is known, not to overwrite what is not."""

import functools
import re
from collections.abc import Callable
from typing import ParamSpec

from flask import Response, request
from werkzeug.exceptions import BadRequest, PreconditionRequired

P = ParamSpec("P")

_VERSION = re.compile(r"[1-9][0-9]{0,17}")
#: No resource has it: compared like any other, so that an unknown resource is still told from a stale version.
_NO_VERSION = -1


def tagged(view: Callable[P, Response]) -> Callable[P, Response]:
    """Give a view's answer a strong ETag, a digest of the body unless it has one, and answer 304 to who knows it."""

    @functools.wraps(view)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Response:
        response = view(*args, **kwargs)
        response.add_etag()
        tag, _ = response.get_etag()
        if tag is not None and request.if_none_match.contains_weak(tag):
            response.status_code = 304
            response.set_data(b"")
        return response

    return wrapper


def is_wanted(body: Response) -> bool:
    """Tell whether If-Match is missing, or means the resource whose representation this is."""
    if "If-Match" not in request.headers:
        return True
    tag = digest(body)
    return request.if_match.star_tag or request.if_match.contains(tag)


def digest(body: Response) -> str:
    """Return the strong ETag, without its quotes, that `tagged` gives to this body."""
    body.add_etag()
    return str(body.get_etag()[0])


def etag(version: int) -> str:
    """Return the ETag of a resource's version."""
    return f'"{version}"'


def wanted_version(*, required: bool) -> int | None:
    """Return the version that If-Match names, None for any. Raises PreconditionRequired if it must and does not."""
    if "If-Match" not in request.headers:
        if required:
            raise PreconditionRequired("This request needs If-Match with the resource's ETag, or *.")
        return None
    tags = request.if_match
    if tags.star_tag:
        return None
    strong = [tag or "" for tag in tags.as_set(include_weak=False)]  # werkzeug reads "" as None
    if len(strong) > 1:
        raise BadRequest("If-Match may hold one entity tag here, or *.")
    # A weak tag never matches in If-Match (RFC 9110 §13.1.1).
    version = _VERSION.fullmatch(strong[0]) if strong else None
    return int(version[0]) if version else _NO_VERSION
