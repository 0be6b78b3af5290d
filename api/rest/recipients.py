"""The views under /v1/recipients."""

from flask import g

from api.core import erasure
from api.rest.blueprint import Blueprint
from schemas.vocabulary import Scope

blp = Blueprint("recipients", __name__, url_prefix="/v1/recipients", description="The people that mail went to.")


# As a path: a slash may stand in an address, and servers decode %2F.
@blp.operation("DELETE", "/<path:email>", id="erase_recipient", scope=Scope.NOTIFICATIONS_WRITE)
@blp.answers(204, description="Erased, or never known.")
def erase(email: str) -> None:
    """Erase a recipient.

    Mail to this address that waits is cancelled; the address, what relays said about it, and the contents that nobody
    else waits for are erased. The notifications stay, without them, and count. A user registered with this address is
    erased by deleting the user. What is no address is 404.
    """
    erasure.erase_recipient(email, mode=g.key.mode)
