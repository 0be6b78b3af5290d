"""Links, all of them from the configured public URL: what a request says about its host is never repeated."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit
from uuid import UUID

from flask import Flask, request

from api.core import extension
from api.core.paging import Page

T = TypeVar("T")


def configure(app: Flask, public_url: str) -> None:
    """Remember the base of every link."""
    app.extensions["postroom.public_url"] = public_url.rstrip("/")


def base() -> str:
    """Return the public URL, without a slash at its end."""
    url: str = extension.of("postroom.public_url")
    return url


def to(*steps: object) -> str:
    """Return the absolute URL of a path, given step by step: `to("v1", "users", id)`."""
    return "/".join([base(), *[str(step) if isinstance(step, UUID) else _quoted(str(step)) for step in steps]])


@lru_cache(maxsize=256)  # most steps are our own words
def _quoted(step: str) -> str:
    return step if step.isalnum() and step.isascii() else quote(step, safe="")


def path(inner: str) -> str:
    """Return the path, percent-encoded, that the outside reaches this inner path by."""
    # One slash at the front: two would name another host.
    return urlsplit(base()).path + "/" + quote(inner.lstrip("/"), safe="/:@!$&'()*+,;=~")


def listed(page: Page[T], shown: Callable[[T], Any], *steps: str) -> tuple[dict[str, Any], Mapping[str, str]]:
    """Return the body of a list's page, and the Link header (RFC 8288) to the next one."""
    body = {"data": [shown(one) for one in page.data], "next": page.next}
    if page.next is None:
        return body, {}
    query = urlencode({**request.args.to_dict(), "after": page.next})
    return body, {"Link": f'<{to(*steps)}?{query}>; rel="next"'}
