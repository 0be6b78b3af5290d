"""Many mails over one line: pipelined where the relay offers it (RFC 2920), else one transaction after the other.

A message's body and final dot go out together with the envelope of the next one, MAIL, RCPT and DATA in one group, so
that a mail costs one round trip. What a reply means is judged as in the plain dialogue; whatever goes wrong on the way
ends the connection, and the mail that was merely next is tried on a new one as if nothing had been.
"""

from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from api.core.claim import Claim, Result
from api.delivery import blame
from api.delivery.blame import Verdict
from api.delivery.channel import Broken
from api.delivery.dialogue import Dialogue
from api.delivery.line import Line
from api.delivery.message import Message
from api.delivery.transaction import Envelope, Fenced, commands, oversize, seal, withdraw
from schemas.vocabulary import Outcome, Phase

#: A body up to this many octets is written together with its final dot; of a longer one, an early refusal is heard.
SMALL = 64 * 1024
#: Seconds without an answer to a final dot after which the next mail does not wait behind it.
PATIENCE = 1.0
#: A relay whose last answer to a final dot took longer (seconds) gets no envelope ahead: it would gain nothing.
QUICK = 0.5


class Shift(Protocol):
    """Where a stream's mail comes from and its results go to; nothing here raises."""

    def next(self) -> Claim | None:
        """Return another claim, if one is there at once and may be sent."""

    def enter(self, claim: Claim) -> bool:
        """Let a claim into DATA, if it is still held. Otherwise the shift sees to it."""

    def report(self, claim: Claim, result: Result) -> None:
        """Take what came of a claim."""

    def give_back(self, claim: Claim) -> None:
        """Take back a claim that was not begun."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A claim, sealed."""

    claim: Claim
    envelope: Envelope


class Stream:
    """Sends claims over a line until there are no more, or the relay fails."""

    def __init__(self, line: Line, shift: Shift) -> None:
        self._line = line
        self._shift = shift
        self._began = 0.0
        self._answer_took = 0.0

    def run(self, claim: Claim) -> None:
        """Send this claim and whatever follows it."""
        parcel = self._pack(claim)
        while parcel is not None:
            self._began = monotonic()
            kept = self._line.kept()
            verdict = None if kept else self._line.connect()
            if verdict is not None:
                self._report(parcel, verdict)
                return
            dialogue = self._line.dialogue
            if dialogue is not None and dialogue.has_extn("pipelining"):
                parcel = self._pipeline(dialogue, parcel, fresh=not kept)
            else:
                parcel = self._plainly(parcel)

    def _pack(self, claim: Claim | None) -> Parcel | None:
        """Seal a claim; one that cannot be put on the wire is reported, and the next one taken."""
        while claim is not None:
            try:
                data = Message.of(claim.content, claim.recipient).as_bytes()
                envelope = seal(data, sender=claim.content.sender.email, recipient=claim.recipient)
                return Parcel(claim, envelope)
            except ValueError as error:
                self._shift.report(claim, blame.unsendable(str(error)).after(0.0))
                claim = self._shift.next()
        return None

    def _next(self) -> Parcel | None:
        return self._pack(self._shift.next())

    def _report(self, parcel: Parcel, verdict: Verdict) -> None:
        now = monotonic()
        self._shift.report(parcel.claim, verdict.after(now - self._began))
        self._began = now

    def _plainly(self, parcel: Parcel) -> Parcel | None:
        try:
            verdict = self._line.deliver(parcel.envelope, lambda: self._shift.enter(parcel.claim))
        except Fenced:
            return self._next()
        self._report(parcel, verdict)
        return self._next()

    def _pipeline(self, dialogue: Dialogue, parcel: Parcel, *, fresh: bool) -> Parcel | None:
        """Send over one connection while it is good; return what is to be tried on a new one."""
        current: Parcel | None = parcel
        begun = False  # whether the current one's envelope is on its way already
        while current is not None:
            dialogue.channel.ends = monotonic() + self._line.relay.deadline
            verdict = oversize(dialogue, current.envelope)
            if verdict is None:
                try:
                    verdict = self._envelope(dialogue, current, begun=begun)
                except Broken as error:
                    self._line.drop()
                    if not fresh:  # the connection's age, or the mail before: nothing that was said of this one
                        return current
                    verdict = blame.broken(dialogue.phase, str(error))
                if not fresh and verdict is not None and verdict.phase is Phase.MAIL and verdict.reply.code == 421:
                    self._line.drop()
                    return current
            if verdict is not None:
                self._report(current, verdict)
                if not dialogue.channel.connected:
                    return self._next()
                current, begun = self._next(), False
            elif not self._shift.enter(current.claim):
                self._line.drop()  # DATA is open, and only a message or the end of the connection closes it
                return self._next()
            else:
                current, begun = self._body(dialogue, current)
            fresh = False
            if current is not None and not dialogue.channel.connected:
                return current
        return None

    def _envelope(self, dialogue: Dialogue, parcel: Parcel, *, begun: bool) -> Verdict | None:
        """Say MAIL, RCPT and DATA in one group, if that was not done, and hear all three answers; None: all accepted."""
        if not begun:
            dialogue.phase = Phase.MAIL
            dialogue.begin(commands(dialogue, parcel.envelope))
        verdict: Verdict | None = None
        for phase in (Phase.MAIL, Phase.RCPT, Phase.DATA):
            if verdict is None:
                dialogue.phase = phase
            reply = dialogue.read()
            if verdict is None:
                verdict = blame.judge(phase, reply)
            elif phase is Phase.DATA and reply.code == 354:
                self._line.drop()  # a relay that wants the message all the same would get it with no recipient
                return verdict
            if reply.code == 421 or (verdict is not None and verdict.reply.code is None):
                self._line.drop()
                return verdict
        if verdict is not None:
            if verdict.phase is Phase.DATA:
                self._line.drop()
            else:
                withdraw(dialogue)
        return verdict

    def _body(self, dialogue: Dialogue, parcel: Parcel) -> tuple[Parcel | None, bool]:
        """Write the message, and the next one's envelope with it; return the next one and whether it has begun."""
        following = self._ahead(dialogue)
        ahead = commands(dialogue, following.envelope) if following is not None else b""
        try:
            reply = dialogue.write_message(parcel.envelope.wire, ahead, small=SMALL)
            if reply is None:
                written = monotonic()
                if following is not None and not dialogue.answers(PATIENCE):
                    self._shift.give_back(following.claim)
                    following = None
                reply = dialogue.read()
                self._answer_took = monotonic() - written
            verdict = blame.judge(dialogue.phase, reply)
            # After the final dot every reply decides; were one not to, nobody would know what became of the mail.
            verdict = verdict or blame.broken(dialogue.phase, "the relay's answer decides nothing")
        except Broken as error:
            self._line.drop()
            verdict = blame.broken(dialogue.phase, str(error))
        self._report(parcel, verdict)
        if verdict.outcome is not Outcome.SENT or (ahead and following is None):
            # After an error from DATA on, relays differ in what they take the next line for; and an envelope whose
            # message was given to somebody else can only be left.
            self._line.drop()
            return following or self._next(), False
        self._line.sent()
        return (following, True) if following is not None else (self._next(), False)

    def _ahead(self, dialogue: Dialogue) -> Parcel | None:
        """Return the mail whose envelope may go out with this one's body."""
        if self._answer_took > QUICK or self._line.is_last():
            return None
        following = self._next()
        if following is not None and oversize(dialogue, following.envelope) is not None:
            self._shift.give_back(following.claim)
            return None
        return following
