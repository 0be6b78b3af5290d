"""The view of /v1/transports."""

from typing import Any

from api.core import transports
from api.core.db import db
from api.core.models import Transport
from api.rest import examples
from api.rest.blueprint import Blueprint
from schemas.transports import TransportList
from schemas.vocabulary import Scope

blp = Blueprint("transports", __name__, url_prefix="/v1/transports", description="The relays.")


@blp.operation("GET", "", id="list_transports", scope=Scope.ADMIN)
@blp.answers(200, TransportList(), example=examples.TRANSPORTS)
def index() -> Any:
    """Show the state of the relays, their last trouble, and when they are tried next."""
    return {"data": [_shown(transport) for transport in transports.every(db.session())]}


def _shown(transport: Transport) -> dict[str, Any]:
    names = ("name", "state", "since", "next_probe_at")
    error = {name: getattr(transport, f"error_{name}") for name in ("at", "phase", "code", "reply")}
    return {
        **{name: getattr(transport, name) for name in names},
        "last_error": error if transport.error_at is not None else None,
    }
