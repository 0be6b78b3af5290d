"""The fault matrix: what each fault in each phase of the dialogue must come to. Checked by `test_smtp_matrix`."""

from dataclasses import dataclass

from api.core.claim import Blame
from schemas.vocabulary import Outcome, Phase
from tests.relay import actions
from tests.relay.script import Action

#: The faults by name.
FAULTS: dict[str, Action] = {
    "4xx": actions.reply("451 4.0.0 try again"),
    "5xx": actions.reply("550 5.0.0 never"),
    "421": actions.close_after("421 4.3.2 closing"),
    "drop": actions.drop(),
    "hang": actions.hang(),
    "drip": actions.drip("250-this goes on", interval=0.03, finish=False),
    "garbage": actions.garbage("text"),
}
#: Ways of making no sense beyond the matrix's own.
GARBAGE: dict[str, Action] = {
    "binary": actions.garbage("binary"),
    "huge line": actions.garbage("huge_line"),
    "endless lines": actions.garbage("endless_lines"),
    "wrong code": actions.garbage("wrong_code"),
    "empty line": actions.garbage("empty"),
    "code out of range": actions.reply("650 5.0.0 beyond"),
    "two codes": actions.reply("250-2.0.0 yes", "550 5.0.0 no"),
}


@dataclass(frozen=True, slots=True)
class Expected:
    """What an attempt must come to."""

    outcome: Outcome
    blame: Blame
    phase: Phase


def _row(phase: Phase) -> dict[str, Expected]:
    relay = Expected(Outcome.RELEASED, Blame.RELAY, phase)
    if phase in (Phase.BANNER, Phase.EHLO):
        return dict.fromkeys(FAULTS, relay)
    if phase in (Phase.STARTTLS, Phase.AUTH):
        return dict.fromkeys(FAULTS, relay) | {"5xx": Expected(Outcome.RELEASED, Blame.OPERATOR, phase)}
    whose = Blame.RECIPIENT if phase is Phase.RCPT else Blame.MESSAGE
    lost = Expected(Outcome.UNKNOWN if phase is Phase.DOT else Outcome.DEFERRED, Blame.MESSAGE, phase)
    return dict.fromkeys(FAULTS, lost) | {
        "4xx": Expected(Outcome.DEFERRED, whose, phase),
        "5xx": Expected(Outcome.FAILED, whose, phase),
        "421": relay,
    }


#: By phase and fault. A fault in `connect` or in the TLS handshake has no reply, so these are not of the matrix.
MATRIX: dict[Phase, dict[str, Expected]] = {
    phase: _row(phase)
    for phase in (
        Phase.BANNER,
        Phase.EHLO,
        Phase.STARTTLS,
        Phase.AUTH,
        Phase.MAIL,
        Phase.RCPT,
        Phase.DATA,
        Phase.BODY,
        Phase.DOT,
    )
}
