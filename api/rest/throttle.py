"""How many requests a key may make, and what every answer to one tells of that.

The headers are those of draft-ietf-httpapi-ratelimit-headers-10 (structured fields, RFC 9651): the policies, and of
each what is left (`r`) and for how many seconds no more than that (`t`).
"""

import ipaddress
from collections.abc import Mapping
from typing import TYPE_CHECKING

from flask import Flask, Response, g, request

from api.core import extension, quotas, rates
from api.core.errors import TooMany
from api.core.models import ApiKey
from api.core.rates import Rate, Verdict

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

KEY = "default"
BROWSER = "browser"
#: Requests without a good key, from one address: a bound on the work they make. Nobody guesses 178 random bits.
STRANGERS = Rate(6000, 60)
#: In the environ: what came of counting the request before it had a context.
_VERDICT = "postroom.verdict"


def configure(app: Flask, rate: Rate | None, *, browsers: Rate | None) -> None:
    """Allow each key so many requests, and each browser key so many from one client; None as many as they like."""
    app.extensions["postroom.rate"] = rate
    app.extensions["postroom.browser_rate"] = browsers
    app.after_request(_tell)


def note(key: ApiKey) -> None:
    """Count a request of this key, if that is not done yet. Raises TooMany."""
    rate: Rate | None = extension.of("postroom.rate")
    if rate is None or request.method == "OPTIONS":
        return
    verdict: Verdict = request.environ.get(_VERDICT) or quotas.take(KEY, str(key.id), rate)
    g.standing = {KEY: (rate, verdict)}
    if not verdict.allowed:
        detail = f"This key may make {rate.quota} requests in {rate.window} seconds."
        raise TooMany(detail, retry_after=rates.seconds(verdict.retry))


def count(environ: "WSGIEnvironment", key: ApiKey) -> bool:
    """Count a request of this key before there is a context of it; tell whether it is allowed."""
    rate: Rate | None = extension.of("postroom.rate")
    if rate is None:
        return True
    environ[_VERDICT] = verdict = quotas.take(KEY, str(key.id), rate)
    return verdict.allowed


def told(environ: "WSGIEnvironment") -> list[tuple[str, str]]:
    """Return the headers that tell how the rate stands by which `count` went, if there is one."""
    verdict: Verdict | None = environ.get(_VERDICT)
    return [] if verdict is None else _headers({KEY: (extension.of("postroom.rate"), verdict)})


def note_browser(key: ApiKey) -> None:
    """Count a request of a browser key, for the client that it comes from. Raises TooMany."""
    rate: Rate | None = extension.of("postroom.browser_rate")
    if rate is None:
        return
    verdict = quotas.take(BROWSER, f"{key.id} {_client()}", rate)
    g.standing = {**g.get("standing", {}), BROWSER: (rate, verdict)}
    if not verdict.allowed:
        detail = f"This key may make {rate.quota} requests from one address in {rate.window} seconds."
        raise TooMany(detail, retry_after=rates.seconds(verdict.retry))


def _client() -> str:
    """Return the address that the request comes from; of IPv6 the network, of which a client has all addresses."""
    given = request.remote_addr or ""
    try:
        address = ipaddress.ip_address(given)
    except ValueError:
        return given
    return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else str(address)


def note_stranger() -> None:
    """Count a request without a good key. Raises TooMany; a good key is served from the same address all the same."""
    if extension.of("postroom.rate") is None or request.method == "OPTIONS":
        return
    verdict = quotas.take("stranger", request.remote_addr or "", STRANGERS)
    if not verdict.allowed:
        detail = "Too many requests without a good key came from this address."
        raise TooMany(detail, retry_after=rates.seconds(verdict.retry))


def _tell(response: Response) -> Response:
    standing: Mapping[str, tuple[Rate, Verdict]] = g.get("standing", {})
    for name, value in _headers(standing) if standing else ():
        response.headers[name] = value
    return response


def _headers(standing: Mapping[str, tuple[Rate, Verdict]]) -> list[tuple[str, str]]:
    policies = [f'"{name}";q={rate.quota};w={rate.window}' for name, (rate, _) in standing.items()]
    limits = [f'"{name}";r={one.remaining};t={rates.seconds(one.reset)}' for name, (_, one) in standing.items()]
    return [("RateLimit-Policy", ", ".join(policies)), ("RateLimit", ", ".join(limits))]
