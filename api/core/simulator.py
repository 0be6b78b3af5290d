"""The simulator: mailboxes that answer test mail as relays answer live mail, each in a way of its own.

They stand at a name that RFC 2606 §3 keeps out of use, so no relay could ever be asked about them. `+anything` behind
a mailbox's name makes an address of its own (RFC 5233), so that tests do not meet each other's mail.

| mailbox | what becomes of its mail |
| --- | --- |
| `delivered` | sent |
| `deferred` | deferred by a greylisting relay, sent at the second attempt |
| `expired` | deferred at every attempt, until it expires |
| `failed` | refused: there is no such user |
| `full` | refused: the mailbox is full |
| `blocked` | refused: the recipient does not want mail from this sender |
| `spam` | refused after the data: the content looks like spam |
| `slow` | `sending` for some seconds, then sent |
| `lost` | the relay's answer is lost, and a second copy sent: `possible_duplicate` |
"""

from collections.abc import Iterable
from datetime import timedelta

from api.core.claim import Blame, Reply, Result
from api.core.retry import Schedule
from schemas.vocabulary import Mode, Outcome, Phase

DOMAIN = "simulator.example"
_AT_DOMAIN = "@" + DOMAIN
#: Seconds that a slow mailbox takes for its answer.
SLOW_SECONDS = 3
#: Quick, because a client's test waits for it; `expired` is given up after some attempts.
SCHEDULE = Schedule(first=timedelta(seconds=1), longest=timedelta(hours=1), give_up=timedelta(seconds=20))

_TAKEN = Reply(250, "2.0.0", "Ok: queued as SIMULATED")


def _refused(code: int, enhanced_code: str, text: str, *, phase: Phase = Phase.RCPT) -> Result:
    outcome = Outcome.FAILED if code >= 500 else Outcome.DEFERRED
    blame = Blame.RECIPIENT if phase is Phase.RCPT else Blame.MESSAGE
    return Result(outcome, blame, phase, Reply(code, enhanced_code, text), 0)


def _sent(seconds: int = 0) -> Result:
    return Result(Outcome.SENT, Blame.NOBODY, Phase.DOT, _TAKEN, seconds * 1000)


_EXPIRING = "expired"
_CUT = Result(
    Outcome.UNKNOWN, Blame.MESSAGE, Phase.DOT, Reply(None, None, "the relay closed the connection without an answer"), 0
)
#: By mailbox, what its attempts come to, one after the other; the last one holds for all that follow. The codes are
#: those that RFC 3463 and the RFC 5321 §4.2.2 have for it, the texts what relays say.
_SCRIPTS = {
    "delivered": (_sent(),),
    "deferred": (_refused(450, "4.7.1", "Greylisted, please try again later"), _sent()),
    _EXPIRING: (_refused(450, "4.2.1", "The mailbox is temporarily disabled, please try again later"),),
    "failed": (_refused(550, "5.1.1", "No such user here"),),
    "full": (_refused(552, "5.2.2", "The mailbox is over its quota"),),
    "blocked": (_refused(550, "5.7.1", "The recipient does not accept mail from this sender"),),
    "spam": (_refused(554, "5.7.1", "Message refused: its content looks like spam", phase=Phase.DOT),),
    "slow": (_sent(SLOW_SECONDS),),
    "lost": (_CUT, _sent()),
}
MAILBOXES = tuple(_SCRIPTS)


def is_mailbox(email: str) -> bool:
    """Tell whether an address is the simulator's."""
    return _mailbox(email) is not None


def answer(recipient: str, attempt: int) -> Result | None:
    """Return what attempt number `attempt` (from 1) comes to, or None for a recipient that is none of the simulator's.

    `sending` lasts as long as the result's duration.
    """
    script = _SCRIPTS.get(_mailbox(recipient) or "")
    return script[min(attempt, len(script)) - 1] if script else None


def complaint(email: str, *, mode: Mode) -> tuple[str, str] | None:
    """Return why mail of this mode cannot go to an address, as a sentence and a code; None if it can."""
    mailbox = _mailbox(email)
    if mailbox is None:
        return None
    if mode is Mode.LIVE:
        return f"Addresses at {DOMAIN} are for test keys: no relay knows them.", "simulated"
    if mailbox not in _SCRIPTS:
        return f"The simulator's mailboxes are {', '.join(MAILBOXES)}.", "not_one_of"
    return None


def give_up(recipients: Iterable[str], *, mode: Mode, otherwise: timedelta) -> timedelta:
    """Return the age at which mail expires: where that is what a test waits for, soon."""
    awaited = mode is Mode.TEST and any(_mailbox(one) == _EXPIRING for one in recipients)
    return min(SCHEDULE.give_up, otherwise) if awaited else otherwise


def _mailbox(email: str) -> str | None:
    """Return the name of a simulated mailbox in lower case, without what stands behind the plus."""
    email = email.casefold()
    return email.removesuffix(_AT_DOMAIN).partition("+")[0] if email.endswith(_AT_DOMAIN) else None
