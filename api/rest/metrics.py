"""The view of /metrics, in Prometheus' text format, version 0.0.4: one look at figures that are kept."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from flask import Response, current_app

from api.core import clock, dispatchers, figures, overview, transports
from api.core.db import db
from api.rest import traffic
from api.rest.blueprint import Blueprint
from schemas.vocabulary import DeliveryStatus, Outcome, Scope, TransportState

blp = Blueprint("metrics", __name__, description="Figures of the whole deployment, whichever process is asked.")

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_OPEN = (DeliveryStatus.QUEUED, DeliveryStatus.SENDING, DeliveryStatus.DEFERRED)
_EXAMPLE = '# TYPE postroom_dispatchers gauge\npostroom_dispatchers{drive="thread"} 1\n'
_DOCUMENTED = {
    "200": {
        "description": "Prometheus' text format, version 0.0.4.",
        "content": {"text/plain": {"schema": {"type": "string"}, "example": _EXAMPLE}},
    }
}

Sample = tuple[Mapping[str, str], float]


@blp.operation("GET", "/metrics", id="get_metrics", scope=Scope.ADMIN)
@blp.doc(responses=_DOCUMENTED)
def metrics() -> Response:
    """Tell the figures that a monitoring system keeps, as Prometheus reads them.

    The operator may open this to whoever can reach it, by POSTROOM_METRICS.
    """
    traffic.store()
    lines = [line for name, kind, told, samples in _every() for line in _family(name, kind, told, samples)]
    response: Response = current_app.response_class("\n".join([*lines, ""]), content_type=MEDIA_TYPE)
    return response


def _every() -> Iterator[tuple[str, str, str, list[Sample]]]:
    session = db.session()
    kept = figures.read()
    queue, attempts = figures.of(kept, figures.QUEUE), figures.of(kept, figures.ATTEMPTS)
    yield (
        "queue_deliveries",
        "gauge",
        "Open deliveries by status, as last counted.",
        [({"status": status.value}, queue.get(status.value, 0)) for status in _OPEN],
    )
    waits = overview.oldest_due(session) or 0.0
    yield "queue_oldest_due_seconds", "gauge", "For how long the oldest due delivery has been due.", [({}, waits)]
    yield (
        "attempts_total",
        "counter",
        "Attempts at delivery by outcome.",
        [({"outcome": one.value}, attempts.get(one.value, 0)) for one in Outcome],
    )
    yield (
        "deliveries_total",
        "counter",
        "Deliveries that an attempt has finished, by status.",
        [({"status": one.value}, attempts.get(one.value, 0)) for one in (Outcome.SENT, Outcome.FAILED)],
    )
    accepted = kept[figures.ACCEPTED].value if figures.ACCEPTED in kept else 0
    yield "accepted_total", "counter", "Notifications accepted.", [({}, accepted)]
    alive = Counter(one.drive for one in overview.registered(session) if dispatchers.is_alive(one, clock.utcnow()))
    yield (
        "dispatchers",
        "gauge",
        "Dispatchers that gave a sign of life lately.",
        [({"drive": drive.value}, alive[drive.value]) for drive in dispatchers.Drive],
    )
    yield (
        "relay_state",
        "gauge",
        "1 for the state that a relay is in.",
        [
            ({"relay": relay.name, "state": state.value}, int(relay.state is state))
            for relay in transports.every(session)
            for state in TransportState
        ],
    )
    yield "http_requests_total", "counter", "Requests by route and status code.", _requests(kept)


def _requests(kept: Mapping[str, Any]) -> list[Sample]:
    samples: list[Sample] = []
    for name, number in figures.of(kept, figures.REQUESTS).items():
        method, _, rest = name.partition(" ")
        route, _, code = rest.rpartition(" ")
        samples.append(({"method": method, "route": route, "code": code}, number))
    return samples


def _family(name: str, kind: str, told: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# HELP postroom_{name} {told}"
    yield f"# TYPE postroom_{name} {kind}"
    for labels, value in samples:
        inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        shown = f"{{{inside}}}" if inside else ""
        yield f"postroom_{name}{shown} {value if isinstance(value, int) else round(value, 3)}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
