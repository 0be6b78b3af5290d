"""The blueprint of every resource: the strict parser, the scopes, and what the OpenAPI document tells of each view."""

import functools
import threading
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from http import HTTPStatus
from typing import Any, Protocol, TypeVar, cast

import flask_smorest
from flask import Flask
from marshmallow import Schema

from api.rest import auth, idempotency
from api.rest.arguments import Parser
from schemas.vocabulary import Scope

View = TypeVar("View", bound=Callable[..., Any])

_TEXT = {"type": "string"}


class Decorator(Protocol):
    """A decorator that keeps a view's type."""

    def __call__(self, view: View, /) -> View:
        """Return the view, or one like it."""


#: In the app's extensions: what is still to be said in the OpenAPI document.
_UNTOLD = "postroom.untold"
_turn = threading.Lock()


class Blueprint(flask_smorest.Blueprint):  # type: ignore[misc]  # it ships no types
    """flask-smorest's blueprint with typed decorators."""

    ARGUMENTS_PARSER = Parser()

    def register_views_in_doc(self, api: Any, app: Flask, spec: Any, **options: Any) -> None:
        """Remember to describe the views."""
        later(app, functools.partial(super().register_views_in_doc, api, app, spec, **options))

    def operation(self, method: str, rule: str, *, id: str, scope: Scope | None) -> Decorator:
        """Route a method to a view that keys of this scope may call, None for everybody; `id` is its operationId."""

        def decorator(view: View) -> View:
            described: View = self.doc(**_described(id, scope))(view)
            guarded = described if scope is None else auth.requires(scope)(described)
            return cast("View", self.route(rule, methods=[method], endpoint=view.__name__)(guarded))

        return decorator

    def body(self, schema: Schema, *, examples: Mapping[str, Any]) -> Decorator:
        """Give the view the request's body, read by the schema; `examples` are values by their summary."""
        documented = self.arguments(schema, examples=_named(examples))

        def decorator(view: View) -> View:
            # What flask-smorest would put around the view, and webargs around that, is of use for the document alone.
            @functools.wraps(view)
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                return view(*args, self.ARGUMENTS_PARSER.body(schema), **kwargs)

            wrapper._apidoc = documented(view)._apidoc  # type: ignore[attr-defined]
            return cast("View", wrapper)

        return decorator

    @staticmethod
    def doc(**facts: Any) -> Decorator:
        """Document a view; unlike flask-smorest's own, without a function around it."""

        def decorator(view: View) -> View:
            known = deepcopy(getattr(view, "_apidoc", {}))
            known["manual_doc"] = known.get("manual_doc", {}) | facts
            view._apidoc = known  # type: ignore[attr-defined]
            return view

        return decorator

    def query(self, schema: Schema) -> Decorator:
        """Give the view the request's query, read by the schema."""
        return cast("Decorator", self.arguments(schema, location="query"))

    def answers(
        self,
        status: int,
        schema: Schema | None = None,
        *,
        description: str | None = None,
        example: Any = None,
        headers: Iterable[str] = (),
    ) -> Decorator:
        """Dump what the view returns, with this status unless it says another. `headers` name the documented ones."""
        options = _documented(status, description, example, headers)
        return cast("Decorator", self.response(status, schema, **options))

    def also(
        self,
        status: int,
        schema: Schema | None = None,
        *,
        description: str | None = None,
        example: Any = None,
        headers: Iterable[str] = (),
        media_type: str | None = None,
    ) -> Decorator:
        """Document another answer of the view."""
        options = _documented(status, description, example, headers)
        options["content_type"] = media_type
        return cast("Decorator", self.alt_response(status, schema=schema, **options))

    def once(self, schema: Schema | None, picture: idempotency.Picture) -> Decorator:
        """Carry out what comes again under the same Idempotency-Key only once; see `idempotency.once`."""

        def decorator(view: View) -> View:
            return cast("View", self.doc(**{"x-once": True})(idempotency.once(schema, picture)(view)))

        return decorator

    def or_token(self, view: View) -> View:
        """Let a view of one notification also be called by its status token."""
        return self.doc(**{"x-token": True})(auth.or_token(view))

    def patient(self, view: View) -> View:
        """Document that a view's answer may be waited for; see `waiting.waits`."""
        return self.doc(**{"x-patient": True})(view)

    def events(self, *, description: str, example: str) -> Decorator:
        """Document that the view answers with a stream of events."""
        options = _documented(200, description, example, ("X-Accel-Buffering",))
        return cast("Decorator", self.alt_response(200, schema=_TEXT, content_type="text/event-stream", **options))

    def fails(self, *statuses: int) -> Decorator:
        """Document errors that do not follow from the shape of the operation."""

        def decorator(view: View) -> View:
            return self.doc(**{"x-errors": list(statuses)})(view)

        return decorator


def later(app: Flask, describe: Callable[[], object]) -> None:
    """Remember what adds to the document: hardly a process is ever asked for it, and it is not cheap."""
    app.extensions.setdefault(_UNTOLD, []).append(describe)


def describe(app: Flask) -> None:
    """Complete the document of an app, once."""
    with _turn:  # who asks at the same time must not find half of it
        for one in app.extensions.pop(_UNTOLD, ()):
            one()


def _described(id_: str, scope: Scope | None) -> dict[str, Any]:
    # Since OpenAPI 3.1 a bearer scheme may name what it requires, too.
    security = [] if scope is None else [{"bearerAuth": [scope.value]}]
    return {"operationId": id_, "security": security}


def _documented(status: int, description: str | None, example: Any, headers: Iterable[str]) -> dict[str, Any]:
    return {
        "description": description or HTTPStatus(status).phrase,
        "example": example,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in headers} or None,
    }


def _named(examples: Mapping[str, Any]) -> dict[str, Any]:
    return {
        summary.lower().replace(" ", "_"): {"summary": summary, "value": value} for summary, value in examples.items()
    }
