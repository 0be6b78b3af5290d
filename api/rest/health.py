"""The views of /healthz and /readyz."""

from typing import Any

from api.rest import examples, problems, readiness
from api.rest.blueprint import Blueprint
from schemas.health import AliveOut, ReadyOut
from schemas.problems import NotReady

blp = Blueprint("health", __name__, description="How the service itself is doing. No key is needed.")


@blp.operation("GET", "/healthz", id="get_health", scope=None)
@blp.answers(200, AliveOut(), example={"status": "ok"})
def healthz() -> dict[str, str]:
    """Tell that the process runs."""
    return {"status": "ok"}


@blp.operation("GET", "/readyz", id="get_readiness", scope=None)
@blp.answers(200, ReadyOut(), example=examples.READY)
@blp.also(503, NotReady(), example=examples.NOT_READY, headers=("Retry-After",), media_type=problems.MEDIA_TYPE)
def readyz() -> Any:
    """Tell whether mail is accepted and sent: the database can be written, a dispatcher is alive, no relay is stopped.

    A relay that is in trouble by its own fault is named, but changes nothing: what is accepted waits for it.
    """
    checks = readiness.checks()
    failed = [f"{name}: {check['detail']}" for name, check in checks.items() if not check["ok"]]
    if not failed:
        return {"status": "ready", "checks": checks}
    headers = {"Retry-After": str(problems.RETRY_SECONDS)}
    return problems.respond(503, " ".join(failed), headers=headers, checks=checks)
