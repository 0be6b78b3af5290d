"""How many requests a key may make, and what every answer to one tells of that.

The headers are those of draft-ietf-httpapi-ratelimit-headers-10 (structured fields, RFC 9651): the policies, and of
each what is left (`r`) and for how many seconds no more than that (`t`).
"""

from collections.abc import Mapping

from flask import Flask, Response, current_app, g, request

from api.core import quotas, rates
from api.core.errors import TooMany
from api.core.models import ApiKey
from api.core.rates import Rate, Verdict

KEY = "default"
#: Requests without a good key, from one address: a bound on the work they make. Nobody guesses 178 random bits.
STRANGERS = Rate(6000, 60)


def configure(app: Flask, rate: Rate | None) -> None:
    """Allow each key so many requests; None as many as it likes."""
    app.extensions["postroom.rate"] = rate
    if rate is not None:
        app.after_request(_tell)


def note(key: ApiKey) -> None:
    """Count a request of this key. Raises TooMany."""
    rate: Rate | None = current_app.extensions["postroom.rate"]
    if rate is None or request.method == "OPTIONS":
        return
    verdict = quotas.take(KEY, str(key.id), rate)
    g.standing = {KEY: (rate, verdict)}
    if not verdict.allowed:
        detail = f"This key may make {rate.quota} requests in {rate.window} seconds."
        raise TooMany(detail, retry_after=rates.seconds(verdict.retry))


def note_stranger() -> None:
    """Count a request without a good key. Raises TooMany; a good key is served from the same address all the same."""
    if current_app.extensions["postroom.rate"] is None or request.method == "OPTIONS":
        return
    verdict = quotas.take("stranger", request.remote_addr or "", STRANGERS)
    if not verdict.allowed:
        detail = "Too many requests without a good key came from this address."
        raise TooMany(detail, retry_after=rates.seconds(verdict.retry))


def _tell(response: Response) -> Response:
    standing: Mapping[str, tuple[Rate, Verdict]] = g.get("standing", {})
    if standing:
        policies = [f'"{name}";q={rate.quota};w={rate.window}' for name, (rate, _) in standing.items()]
        limits = [f'"{name}";r={one.remaining};t={rates.seconds(one.reset)}' for name, (_, one) in standing.items()]
        response.headers["RateLimit-Policy"] = ", ".join(policies)
        response.headers["RateLimit"] = ", ".join(limits)
    return response
