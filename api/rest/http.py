"""The HTTP door: what `api.app` needs to open it."""

from collections.abc import Callable, Collection
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

import flask_smorest
from flask import Flask, Request, Response
from flask.sessions import NullSession, SessionInterface
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, MapAdapter, Rule

from api.core.rates import Rate
from api.rest import (
    auth,
    batches,
    blueprint,
    browsers,
    docs,
    events,  # noqa: F401 -- as those of lifecycle
    express,
    fields,
    headers,
    health,
    hosts,
    inbox,
    keys,
    lifecycle,  # noqa: F401 -- its routes belong to the blueprint of notifications
    links,
    metrics,
    notifications,
    openapi,
    problems,
    readiness,
    recipients,
    templates,
    throttle,
    traffic,
    transports,
    users,
)
from schemas.problems import Problem

View = TypeVar("View", bound=Callable[..., Any])


class Api(flask_smorest.Api):  # type: ignore[misc]  # it ships no types
    """flask-smorest's Api, with problems for errors and without a catch-all in the document."""

    DEFAULT_ERROR_RESPONSE_NAME = None
    ERROR_SCHEMA = Problem

    def handle_http_exception(self, error: HTTPException) -> Response:
        """Answer with a problem."""
        return problems.from_http(error)

    def _register_pagination_header(self) -> None:
        pass  # lists go by cursor here

    def _register_responses(self) -> None:
        blueprint.later(self._app, super()._register_responses)


class _NoSessions(SessionInterface):
    """Nobody is remembered between two requests, and no cookie is read or set."""

    def open_session(self, app: Flask, request: Request) -> NullSession:
        """Return a session that nothing can be put into."""
        return _NULL


_NULL = NullSession()


class _Route(Rule):
    """A route that learns to build links when it is to build one: that takes longer than all else of an app."""

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        def build(route: Rule, **values: Any) -> tuple[str, str]:
            built: tuple[str, str] = Rule._compile_builder(self, append_unknown)(route, **values)
            return built

        return build


def _as_it_is(view: View) -> View:
    return view


def _adapter(routes: Map, request: Request | None) -> MapAdapter | None:
    """Return what finds a request's route, which by no host depends: which are ours, `hosts` asks."""
    if request is None:
        return None  # links are not built from routes
    environ = request.environ
    scheme, method = environ["wsgi.url_scheme"], environ["REQUEST_METHOD"]
    return MapAdapter(routes, "", request.root_path, "", scheme, request.path, method, environ.get("QUERY_STRING", ""))


def config(*, public_url: str, trusted_hosts: Collection[str]) -> dict[str, Any]:
    """Return what Flask and its extensions read from the app's config."""
    return {
        **openapi.CONFIG,
        "PREFERRED_URL_SCHEME": urlsplit(public_url).scheme,
        # Not Flask's own TRUSTED_HOSTS: that one would also turn away monitors, which ask by address.
        "POSTROOM_HOSTS": hosts.trusted(public_url, trusted_hosts),
    }


def configure(
    app: Flask,
    *,
    public_url: str,
    dispatch: str,
    origins: Collection[str],
    rate: Rate | None = None,
    browser_rate: Rate | None = None,
    open_metrics: bool = False,
) -> None:
    """Register the routes and everything that stands before and behind them."""
    app.json.sort_keys = False  # type: ignore[attr-defined]  # Flask's own provider has it
    app.session_interface = _NoSessions()
    app.url_rule_class = _Route
    # Asked of every function at every request, and there is none that it would change.
    app.ensure_sync = _as_it_is  # type: ignore[assignment, method-assign]
    app.create_url_adapter = partial(_adapter, app.url_map)  # type: ignore[method-assign]
    # A redirect to the same path with a slash would go to whatever host the request names.
    app.url_map.strict_slashes = app.url_map.merge_slashes = app.url_map.redirect_defaults = False
    links.configure(app, public_url)
    readiness.configure(app, dispatch)
    problems.configure(app)
    headers.configure(app)
    hosts.configure(app, app.config["POSTROOM_HOSTS"])
    throttle.configure(app, rate, browsers=browser_rate)
    auth.configure(
        app,
        preflight=browsers.any_preflight(origins),
        opened=("metrics.metrics",) if open_metrics else (),
    )
    traffic.configure(app)
    headers.allow_origins(app, browsers.readable(origins))
    express.configure(app)
    api = Api(app)
    fields.configure(api)
    for room in (users, notifications, recipients, batches, templates, inbox, keys, transports, health, metrics):
        api.register_blueprint(room.blp)
    app.register_blueprint(docs.blp)
