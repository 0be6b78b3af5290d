"""A shift over a pile of claims, and what came of each: what a dispatcher's thread is to a stream."""

from collections import deque
from collections.abc import Iterable

from api.core.claim import Claim, Result
from api.delivery.line import Line
from api.delivery.smtp import Mail
from api.delivery.stream import Stream
from schemas.vocabulary import Outcome
from tests.relay.process import Relay


class Pile:
    """Claims to be sent, the first on top; by recipient: what was reported, was let into DATA, and was given back."""

    def __init__(self, claims: Iterable[Claim], *, lost: Iterable[str] = ()) -> None:
        self.todo = deque(claims)
        self.results: dict[str, list[Result]] = {}
        self.entered: list[str] = []
        self.returned: list[str] = []
        #: Those whose envelopes rode ahead with another's body.
        self.riders: list[str] = []
        #: Recipients whose claims turn out to be held by somebody else.
        self._lost = frozenset(lost)
        self._inside = False

    def next(self) -> Claim | None:
        claim = self.todo.popleft() if self.todo else None
        if self._inside and claim is not None:
            self.riders.append(claim.recipient)
        return claim

    def enter(self, claim: Claim) -> bool:
        self.entered.append(claim.recipient)
        self._inside = claim.recipient not in self._lost
        return self._inside

    def report(self, claim: Claim, result: Result) -> None:
        self._inside = False
        self.results.setdefault(claim.recipient, []).append(result)

    def give_back(self, claim: Claim) -> None:
        self.returned.append(claim.recipient)
        self.todo.append(claim)

    def outcomes(self) -> dict[str, list[Outcome]]:
        """Return by recipient what each attempt came to."""
        return {recipient: [result.outcome for result in results] for recipient, results in self.results.items()}


class Streaming:
    """One line to a relay, and streams of mail over it; closed at the end of `with`."""

    def __init__(self, mail: Mail) -> None:
        self.line = Line(mail.relay_settings())

    def __enter__(self) -> "Streaming":
        return self

    def __exit__(self, *_: object) -> None:
        self.line.close()

    def send(self, *claims: Claim, pile: Pile | None = None) -> Pile:
        """Send the claims, or what lies on the pile, until there are no more or the relay is in trouble."""
        pile = Pile(claims) if pile is None else pile
        first = pile.next()
        if first is not None:
            Stream(self.line, pile).run(first)
        return pile


def copies(relay: Relay, claim: Claim) -> int:
    """Return how often the relay accepted the claim's mail for its recipient; see that it was nobody else's."""
    mine = [message for message in relay.messages() if message.recipients == (claim.recipient,)]
    assert all(message.message_id == claim.content.message_id for message in mine)
    return len(mine)
