"""Whose fault it is: what a relay's reply, or its absence, means for the mail, the relay and the operator.

Pure functions of the phase and the reply, shared by every way of holding the dialogue. Never of an exception's
class: smtplib raises the same one for 451 and 550.

| what happened | where | outcome, blame | source |
| --- | --- | --- | --- |
| 2xx | after the final dot | sent, nobody | RFC 5321 4.2.5: from here on the relay answers for the mail |
| no connection, no name, 4xx, 5xx | connect, banner, ehlo | released, relay | RFC 5321 3.1, 3.2 |
| 421 | anywhere | released, relay | RFC 5321 3.8: the relay shuts down or is overrun |
| 4xx | starttls, auth | released, relay | RFC 3207 4 (454), RFC 4954 6 (454) |
| 5xx, not offered, bad certificate | starttls, auth | released, operator | RFC 3207 4, RFC 4954 6 (534, 535, 538) |
| 530, 534, 535, 538 | mail, rcpt, data | released, operator | RFC 4954 6, RFC 3207 4: log in, or encrypt, first |
| 454 | mail ... dot | released, relay | Amazon SES: "Throttling failure", rate or daily quota |
| 4xx x.3.1, x.3.2; 432 | mail ... dot | released, relay | RFC 3463 3.4: full, not accepting; Exchange Online: 432 |
| 452 bare; 4xx x.3.0, x.3.5 | mail | released, relay | RFC 5321 4.2.2: no storage; Postfix: lookup, set-up |
| 452 with x.3.x | rcpt | released, relay | the same, said late |
| x.4.5, also with 5xx | mail ... dot | released, relay | RFC 3463 3.5: congestion; Gmail: daily sending limit (550) |
| 5.1.90, 5.2.251 ... 5.2.255, 5.7.232, 5.7.233 | mail ... dot | released, relay | Exchange Online: account limits |
| "relay/sending limit/quota/rate exceeded" | mail ... dot | released, relay | Gmail, also with 450 4.2.1, 550 5.7.1 |
| 4xx / 5xx else | rcpt | deferred / failed, recipient | RFC 5321 4.2.1; 4.2.2 full mailbox, 4.5.3, greylisting |
| 4xx / 5xx else | mail, data, body, dot | deferred / failed, message | RFC 5321 4.2.1; 552 5.3.4 too large |
| lost, silent, senseless | connect ... auth | released, relay | nothing was said about any mail |
| lost, silent, senseless | mail ... body | deferred, message | RFC 5321 4.1.1.4: without the dot nothing was sent |
| lost, silent, senseless | dot | unknown, message | RFC 1047: the relay may have taken it |

Senseless is: no digits, a code outside 200..599, another 2xx or 3xx than was asked for. A refusal to relay for one
recipient (Postfix: 554 5.7.1) stays the recipient's: else one address could stop everybody's mail.
The vendors' replies stand in their lists: "Gmail SMTP errors and codes" (Google Workspace Admin Help 3726730), "SMTP
response codes returned by Amazon SES", "Email non-delivery reports and SMTP errors in Exchange Online".
"""

import re
from typing import NamedTuple

from api.core.claim import Blame, Reply, Result
from api.delivery.reply import one_line
from schemas.vocabulary import Outcome, Phase

#: Before MAIL nothing is about any one message.
GREETING = frozenset({Phase.CONNECT, Phase.BANNER, Phase.EHLO, Phase.STARTTLS, Phase.AUTH})
_EXPECTED = {
    Phase.BANNER: range(220, 221),
    Phase.EHLO: range(250, 251),
    Phase.STARTTLS: range(220, 221),
    Phase.AUTH: range(235, 236),
    Phase.MAIL: range(200, 300),
    Phase.RCPT: range(200, 300),
    Phase.DATA: range(354, 355),
    Phase.DOT: range(200, 300),
}
_LOG_IN_FIRST = frozenset({530, 534, 535, 538})
_RELAY_CODES = frozenset({432, 454})
_ACCOUNT_LIMITS = frozenset({"5.1.90", "5.7.232", "5.7.233", *(f"5.2.{detail}" for detail in range(251, 256))})
_LIMIT_TEXT = re.compile(r"\b(?:relay|sending) (?:limit|quota|rate) exceeded\b", re.IGNORECASE)


class Verdict(NamedTuple):
    """A `Result` that nobody has timed yet."""

    outcome: Outcome
    blame: Blame
    phase: Phase
    reply: Reply

    def after(self, seconds: float) -> Result:
        """Return the result of an attempt that took so long."""
        return Result(self.outcome, self.blame, self.phase, self.reply, round(seconds * 1000))


def judge(phase: Phase, reply: Reply) -> Verdict | None:
    """Return what the reply to this phase's command decides, or None where the dialogue goes on."""
    code = reply.code
    if code is None:
        return broken(phase, reply.text)
    if code in _EXPECTED.get(phase, ()):
        return Verdict(Outcome.SENT, Blame.NOBODY, phase, reply) if phase is Phase.DOT else None
    if not 400 <= code <= 599:
        return broken(phase, f"the relay answered out of turn: {code} {reply.text}")
    whose = _greeting(phase, code) if phase in GREETING else _transaction(phase, code, reply)
    if whose in (Blame.RELAY, Blame.OPERATOR):
        return Verdict(Outcome.RELEASED, whose, phase, reply)
    return Verdict(Outcome.DEFERRED if code < 500 else Outcome.FAILED, whose, phase, reply)


def broken(phase: Phase, text: str) -> Verdict:
    """Return what it means that in this phase no reply came that makes sense; the text says what came instead."""
    reply = Reply(None, None, one_line(text))
    if phase in GREETING:
        return Verdict(Outcome.RELEASED, Blame.RELAY, phase, reply)
    return Verdict(Outcome.UNKNOWN if phase is Phase.DOT else Outcome.DEFERRED, Blame.MESSAGE, phase, reply)


def misconfigured(phase: Phase, text: str) -> Verdict:
    """Return the verdict on settings, or a relay's identity, that only the operator can mend."""
    return Verdict(Outcome.RELEASED, Blame.OPERATOR, phase, Reply(None, None, one_line(text)))


def unsendable(text: str) -> Verdict:
    """Return the verdict on a message that cannot be put on the wire; nothing was said to the relay."""
    return Verdict(Outcome.FAILED, Blame.MESSAGE, Phase.MESSAGE, Reply(None, None, one_line(text)))


def oversized(size: int, limit: int) -> Verdict:
    """Return the verdict on a message of more octets than the relay announced to take (RFC 1870 section 6.1)."""
    text = f"the message has {size} bytes and the relay announced that it takes {limit}"
    return Verdict(Outcome.FAILED, Blame.MESSAGE, Phase.MAIL, Reply(552, "5.3.4", text))


def _greeting(phase: Phase, code: int) -> Blame:
    refused = code >= 500 and phase in (Phase.STARTTLS, Phase.AUTH)
    return Blame.OPERATOR if refused else Blame.RELAY


def _transaction(phase: Phase, code: int, reply: Reply) -> Blame:
    if code == 421 or _overrun(phase, code, reply):
        return Blame.RELAY
    if code in _LOG_IN_FIRST and phase in (Phase.MAIL, Phase.RCPT, Phase.DATA):
        return Blame.OPERATOR
    return Blame.RECIPIENT if phase is Phase.RCPT else Blame.MESSAGE


def _overrun(phase: Phase, code: int, reply: Reply) -> bool:
    """Tell whether the reply speaks of the relay's state, or of a limit on all that we send."""
    enhanced = reply.enhanced_code or ""
    subject = enhanced[2:]
    if code in _RELAY_CODES or subject == "4.5" or enhanced in _ACCOUNT_LIMITS or _LIMIT_TEXT.search(reply.text):
        return True
    if code >= 500:
        return False
    if subject in ("3.1", "3.2"):
        return True
    if phase is Phase.MAIL:
        return subject in ("3.0", "3.5") or (code == 452 and not enhanced)
    return phase is Phase.RCPT and code == 452 and subject.startswith("3.")
