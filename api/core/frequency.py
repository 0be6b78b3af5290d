"""Frequency: how often one recipient is written to, whoever asks for it with a key.

Counted by address under the mode, for whole requests: if one recipient has had enough, nothing of it is. What the
operator's own command line and shell send, and the notices to the operator's administrator, count for nobody.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

from sqlalchemy.orm import Session

from api.core import addresses, policy, quotas, rates, simulator
from api.core.drafts import Draft
from api.core.errors import FieldError, TooMany
from api.core.models import ApiKey
from api.core.quotas import Charge
from api.core.rates import Rate, Verdict
from schemas.vocabulary import RecipientKind

POLICY = "recipient"

#: From the addresses that are refused, in their compared form, to the errors that point to them.
Pointed = Callable[[Mapping[str, FieldError]], Sequence[FieldError]]


class Counting:
    """Counts drafts' recipients, to be called in a session before they are stored in it: `with Counting(…) as count`.

    Where quotas are counted in memory, None is as good as a session. A call raises TooMany with the errors that
    `pointed` makes. What fails inside leaves nothing counted.
    """

    __slots__ = ("_charges", "_drafts", "_key", "_pointed")

    def __init__(self, key: ApiKey, drafts: Sequence[Draft], pointed: Pointed) -> None:
        self._key = key
        self._drafts = drafts
        self._pointed = pointed
        self._charges: list[Charge] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._undo()

    def __call__(self, session: Session | None) -> None:
        """Count. Raises TooMany."""
        rate = policy.current().recipient_rate
        if rate is None or self._key.is_operator:
            return
        self._undo()  # a transaction that came to nothing and is tried again
        wanted = Counter(f"{self._key.mode} {mailbox}" for mailbox in _mailboxes(self._drafts))
        charge = quotas.current().charge(session, POLICY, wanted, rate)
        if charge.refused:
            refused = {subject.partition(" ")[2]: one for subject, one in charge.refused.items()}
            raise _too_many(rate, refused, self._pointed)
        self._charges.append(charge)

    def _undo(self) -> None:
        while self._charges:
            self._charges.pop().undo()


def within(messages: Mapping[str, Mapping[str, Any]]) -> Pointed:
    """Return what points to refused recipients in `to`, `cc` and `bcc` of messages, by the pointer of each message."""

    def pointed(refused: Mapping[str, FieldError]) -> list[FieldError]:
        return [
            FieldError(f"{pointer}/{kind}/{index}", error.detail, error.code)
            for pointer, message in messages.items()
            for kind in RecipientKind
            for index, address in enumerate(message.get(kind.value, ()))
            if (error := refused.get(addresses.key(addresses.normalise(address.email)))) is not None
        ]

    return pointed


def at(pointer: str) -> Pointed:
    """Return what points to one field, whoever is refused."""
    return lambda refused: [FieldError(pointer, error.detail, error.code) for error in refused.values()]


def _mailboxes(drafts: Sequence[Draft]) -> Iterator[str]:
    for draft in drafts:
        for recipient in draft.recipients:
            if not simulator.is_mailbox(recipient.email):  # there is nobody to be pestered
                yield addresses.key(recipient.email)


def _too_many(rate: Rate, refused: Mapping[str, Verdict], pointed: Pointed) -> TooMany:
    told = {
        mailbox: FieldError("", f"May be written to {rate.quota} times in {rate.window} seconds.", "rate_limited")
        for mailbox in refused
    }
    seconds = max(rates.seconds(verdict.retry) for verdict in refused.values())
    return TooMany("Some recipients have had as much mail as they may get.", errors=pointed(told), retry_after=seconds)
