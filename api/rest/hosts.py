"""Which names this service may be called by: those of the public URL and of the settings."""

import re
from collections.abc import Callable, Collection
from functools import lru_cache
from urllib.parse import urlsplit

from flask import Flask, Response, request

from api.core import extension
from api.rest import problems

#: A monitor asks by address, not by name.
_ASKED_BY_ANY_NAME = frozenset({"health.healthz", "health.readyz"})
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+?)\.?(?::[0-9]{1,5})?", re.IGNORECASE)
_IS_OURS = "postroom.is_ours"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


def trusted(public_url: str, others: Collection[str]) -> frozenset[str]:
    """Return the trusted names in lower case; one that begins with a dot stands for all below it."""
    names = {_name(urlsplit(public_url).netloc.rpartition("@")[2]), *map(_name, others)} - {""}
    # These three are one machine, and a page from elsewhere cannot pretend to be served by it.
    return frozenset(names | _LOOPBACK if names & _LOOPBACK else names)


def configure(app: Flask, names: Collection[str]) -> None:
    """Refuse requests that were meant for another host (DNS rebinding, poisoned caches)."""

    @lru_cache(maxsize=256)
    def is_ours(host: str) -> bool:
        name = _name(host)
        parents = {name[place.start() :] for place in re.finditer(r"\.", name)}
        return name in names or bool(parents & set(names))

    app.extensions[_IS_OURS] = is_ours

    def check_host() -> Response | None:
        # Werkzeug's `request.host` looks at each of its characters, every time.
        host = request.environ.get("HTTP_HOST") or request.host
        if is_ours(host) or request.endpoint in _ASKED_BY_ANY_NAME:
            return None
        return problems.respond(400, "This service is not known by the name in the Host header.")

    app.before_request(check_host)


def is_ours(host: str) -> bool:
    """Tell whether a `Host` header names the running app."""
    known: Callable[[str], bool] = extension.of(_IS_OURS)
    return known(host)


def _name(host: str) -> str:
    """Return the name in a `Host` header or a setting, in lower case, without port; empty if it is none."""
    found = _HOST.fullmatch(host.strip())
    return found["name"].lower() if found else ""
