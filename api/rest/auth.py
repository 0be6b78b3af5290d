"""Who asks, and what they may do: every route needs a key, but for a short list."""

from collections.abc import Callable, Collection
from typing import Any, TypeVar

from flask import Flask, Response, current_app, g, request

from api.core import keys, tokens
from api.core.errors import NotAllowed
from api.core.models import ApiKey
from api.rest import browsers, problems, throttle
from schemas.vocabulary import Scope

View = TypeVar("View", bound=Callable[..., Any])

#: The endpoints that answer without a key.
PUBLIC = frozenset({"health.healthz", "health.readyz", "docs.document", "docs.page", "docs.asset"})
#: Nothing but these paths is anybody's secret: what is not there may be said not to be there.
_PRIVATE = "/v1"
_SCOPE = "postroom_scope"
_OR_TOKEN = "postroom_or_token"  # noqa: S105 -- an attribute's name


def configure(app: Flask, *, preflight: Callable[[], bool], opened: Collection[str] = ()) -> None:
    """Ask every request for its key; while `preflight` says so, browsers may ask what they may send without one.

    The operator has `opened` these endpoints to everybody.
    """
    public = PUBLIC.union(opened)

    def authenticate() -> Response | None:
        if request.endpoint in public or (request.method == "OPTIONS" and preflight()) or _is_nothing():
            return None
        key = _token_holder() if _is_opened_by_token() else keys.authenticate(_secret())
        if key is None:
            throttle.note_stranger()
            # One answer for a missing, malformed, unknown and revoked key.
            return problems.respond(401, headers={"WWW-Authenticate": 'Bearer realm="postroom"'})
        g.key = key
        if key.is_browser:
            browsers.check(key)
        throttle.note(key)
        if not key.is_browser:
            _check_scope(key)
        return None

    app.before_request(authenticate)


def requires(scope: Scope) -> Callable[[View], View]:
    """Let a view be called by keys of this scope only."""

    def decorator(view: View) -> View:
        setattr(view, _SCOPE, scope)  # functools.wraps takes it along to the outermost function
        return view

    return decorator


def or_token(view: View) -> View:
    """Let a view of one notification also be called without a key, by its status token in the query."""
    setattr(view, _OR_TOKEN, True)
    return view


def _is_opened_by_token() -> bool:
    """Tell whether a token counts: where it may, and where no key was sent. Who sends both is judged by the key."""
    view = current_app.view_functions.get(request.endpoint or "")
    return hasattr(view, _OR_TOKEN) and "token" in request.args and "Authorization" not in request.headers


def _token_holder() -> ApiKey | None:
    given = request.args.getlist("token")
    [notification_id] = (request.view_args or {}).values()
    return tokens.holder(given[0], notification_id) if len(given) == 1 else None


def _is_nothing() -> bool:
    """Tell whether the path is neither a route nor among the private ones."""
    inside = request.path == _PRIVATE or request.path.startswith(f"{_PRIVATE}/")
    return request.url_rule is None and not inside


def _secret() -> str:
    """Return the bearer token, or a text that is no key. Two headers arrive joined by a comma, which no key holds."""
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    return secret.strip(" ") if scheme.lower() == "bearer" else ""


def may(key: ApiKey, scope: Scope) -> bool:
    """Tell whether the key has the scope."""
    return scope in key.scopes or Scope.ADMIN in key.scopes


def _check_scope(key: ApiKey) -> None:
    if request.endpoint is None:
        return  # nothing is there: 404 or 405
    scope: Scope | None = getattr(current_app.view_functions[request.endpoint], _SCOPE, None)
    if scope is None:
        raise NotAllowed("No key may do that.")
    if not may(key, scope):
        raise NotAllowed(f"This key lacks the scope '{scope}'.")
