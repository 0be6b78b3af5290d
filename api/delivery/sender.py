"""A sender: the one that hands a claim's mail to the relay and tells what came of it."""

from collections.abc import Callable
from time import monotonic

from api.core.claim import Claim, Result
from api.delivery import blame
from api.delivery.line import Line
from api.delivery.message import Message
from api.delivery.smtp import Mail
from api.delivery.stream import Shift, Stream
from api.delivery.transaction import Envelope, Fenced, seal

__all__ = ["Fenced", "Sender"]


class Sender:
    """One kept connection, used by one thread; only `abort` may be called from another.

    Made inside of an app context; sending needs none. `MAIL_SUPPRESS_SEND` sends nothing and says so: mail that was
    not handed over is never called sent.
    """

    def __init__(self, mail: Mail) -> None:
        self._line = Line(mail.relay_settings())

    def send(self, claim: Claim, *, confirm: Callable[[], bool]) -> Result:
        """Hand one claim's mail to the relay; whatever goes wrong there is in the result.

        `confirm` is asked after the recipient was accepted and before DATA. Raises Fenced when it says no, and what it
        raises; in both cases nothing was handed over.
        """
        began = monotonic()
        try:
            envelope = _envelope(claim)
        except ValueError as error:
            return blame.unsendable(str(error)).after(monotonic() - began)
        return self._line.deliver(envelope, confirm).after(monotonic() - began)

    def stream(self, first: Claim, shift: Shift) -> None:
        """Hand over this claim's mail and all that the shift has for it, pipelined where the relay offers that."""
        Stream(self._line, shift).run(first)

    def probe(self) -> Result:
        """Open a new connection, up to and with AUTH, and keep it: SENT means that mail may be sent now."""
        began = monotonic()
        return self._line.open().after(monotonic() - began)

    def close(self) -> None:
        """Take leave of the relay; errors are harmless, and a next `send` opens a new connection."""
        self._line.close()

    def close_if_idle(self) -> None:
        """Take leave of the relay if the connection was not used for a while; it would not be used again."""
        self._line.close_if_idle()

    def abort(self) -> None:
        """Cut the connection now, from another thread; a `send` that waits there ends with the truth about its phase.

        For good: every later `send` and `probe` is RELEASED before it connects.
        """
        self._line.abort()


def _envelope(claim: Claim) -> Envelope:
    """Return the claim's message in its envelope. Raises ValueError, UnsendableMessage among them."""
    message = Message.of(claim.content, claim.recipient)
    return seal(message.as_bytes(), sender=claim.content.sender.email, recipient=claim.recipient)
