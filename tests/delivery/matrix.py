"""The fault matrix: what each fault in each phase of the dialogue must come to, on the wire and in the table.

Checked by `test_smtp_matrix` and `test_dispatch_matrix`, and shown in `docs/delivery.md`:
`python -m tests.delivery.matrix` prints what stands there.
"""

import sys
from dataclasses import dataclass

from api.core.claim import Blame
from schemas.vocabulary import DeliveryStatus, Outcome, Phase, TransportState
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


@dataclass(frozen=True, slots=True)
class State:
    """What is to be seen after the attempt: of the delivery, of its history, and of the relay."""

    status: DeliveryStatus
    attempts: int
    history: Outcome
    possible_duplicate: bool
    relay: TransportState


#: The word for a cell of the matrix, and what it means for the operator.
STATES: dict[str, State] = {
    "deferred": State(DeliveryStatus.DEFERRED, 1, Outcome.DEFERRED, False, TransportState.UP),
    "failed": State(DeliveryStatus.FAILED, 1, Outcome.FAILED, False, TransportState.UP),
    "unknown": State(DeliveryStatus.DEFERRED, 1, Outcome.UNKNOWN, True, TransportState.UP),
    "paused": State(DeliveryStatus.QUEUED, 0, Outcome.RELEASED, False, TransportState.PAUSED),
    "stopped": State(DeliveryStatus.QUEUED, 0, Outcome.RELEASED, False, TransportState.STOPPED),
}


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
#: A small body in the pipelined dialogue, where its final dot is part of the same write.
SMALL_BODY = _row(Phase.DOT)


def word(expected: Expected) -> str:
    """Return the word for what an attempt came to."""
    if expected.outcome is Outcome.RELEASED:
        return "stopped" if expected.blame is Blame.OPERATOR else "paused"
    return expected.outcome.value


def markdown() -> str:
    """Return the matrix and the meaning of its words as two tables."""
    rows = {f"`{phase}`": row for phase, row in MATRIX.items()}
    places = list(rows)
    at = places.index("`body`")
    named = {
        **{place: rows[place] for place in places[:at]},
        "`body`, over 64 KiB": rows["`body`"],
        "`body`, smaller": SMALL_BODY,
        **{place: rows[place] for place in places[at + 1 :]},
    }
    cells = [[place, *(word(expected) for expected in row.values())] for place, row in named.items()]
    states = [
        [
            name,
            f"`{state.status}`",
            "counted" if state.attempts else "not counted",
            f"`{state.history}`",
            "yes" if state.possible_duplicate else "no",
            f"`{state.relay}`",
        ]
        for name, state in STATES.items()
    ]
    head = ["word", "delivery", "attempt", "`history`", "`possible_duplicate`", "relay"]
    return _table(["phase", *FAULTS], cells) + "\n" + _table(head, states)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    sys.stdout.write(markdown())
