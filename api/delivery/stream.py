"""Many mails over one line: pipelined where the relay offers it (RFC 2920), else one transaction after the other.

A message's body and final dot go out together with the envelope of the next one, MAIL, RCPT and DATA in one group, so
that a mail costs one round trip. What a reply means is judged as in the plain dialogue; whatever else goes wrong ends
the connection, and the mail that was merely next is given back or tried on a new one, as if nothing had been. A mail
whose group was not answered is tried once more, one command at a time, before anything is held against it: not every
relay that offers PIPELINING can do it.
"""

from time import monotonic
from typing import NamedTuple, Protocol

from api.core.claim import Blame, Claim, Reply, Result
from api.delivery import blame
from api.delivery.blame import Verdict
from api.delivery.channel import Broken
from api.delivery.dialogue import Dialogue
from api.delivery.line import Line, is_stale
from api.delivery.message import Message
from api.delivery.transaction import Envelope, Fenced, commands, hear_envelope, oversize, seal
from schemas.vocabulary import Outcome

#: A body up to this many octets is written together with its final dot; of a longer one, an early refusal is heard.
SMALL = 64 * 1024
#: Seconds without an answer to a final dot after which the next mail does not wait behind it.
PATIENCE = 1.0
#: A relay whose last answer to a final dot took longer (seconds) gets no envelope ahead: it would gain nothing.
QUICK = 0.5
#: While a relay answers within this (seconds), another mail is made ready during the wait for it; of a slower one, the
#: wait is long enough for somebody else to take that mail.
AT_ONCE = 0.005
#: Answers that are waited for, at most, before it is looked again whether the next one is there already.
VAIN = 63
#: No answer, and "bad sequence of commands": what a relay has to say that lost a part of a group.
_NOT_UNDERSTOOD = (None, 503)


class Shift(Protocol):
    """Where a stream's mail comes from and its results go to; nothing here raises."""

    def next(self) -> Claim | None:
        """Return another claim, if one is there at once and may be sent."""

    def enter(self, claim: Claim) -> bool:
        """Let a claim into DATA, if it is still held. Otherwise the shift sees to it."""

    def report(self, claim: Claim, result: Result) -> None:
        """Take what came of a claim."""

    def give_back(self, claim: Claim) -> None:
        """Take back a claim that was not begun, or that only an envelope was said of."""


class Parcel(NamedTuple):
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
        #: How many answers are waited for after the next vain look, and how many are still to be.
        self._vain = self._waits = 0
        #: The mail whose envelope goes out, or went, with the present one's body.
        self._following: Parcel | None = None
        #: What goes out after that one, sealed already.
        self._ready: Parcel | None = None

    def run(self, claim: Claim) -> None:
        """Send this claim and whatever follows it."""
        self._began = monotonic()
        parcel = self._pack(claim)
        try:
            while parcel is not None:
                parcel = self._send(parcel)
        except BaseException:
            self._line.drop()  # what stands there is half said
            raise
        self._unpack()

    def _send(self, parcel: Parcel) -> Parcel | None:
        """Send one mail, and all whose envelopes ride along; return the next one, or the same for a new connection."""
        kept = self._line.kept()
        dialogue = kept or self._line.connect(self._ends())
        if isinstance(dialogue, Verdict):
            return self._settle(parcel, dialogue)
        if not self._line.takes_groups():
            return self._send_plainly(dialogue, parcel, fresh=kept is None)
        following, begun = self._send_grouped(dialogue, parcel, fresh=kept is None)
        while following is not None and begun:
            following, begun = self._send_grouped(dialogue, following, fresh=False, begun=True)
        return following

    def _send_plainly(self, dialogue: Dialogue, parcel: Parcel, *, fresh: bool) -> Parcel | None:
        verdict = self._transact(dialogue, parcel)
        if verdict is not None and is_stale(verdict) and not fresh:
            self._line.drop()
            return parcel
        return self._settle(parcel, verdict)

    def _send_grouped(
        self, dialogue: Dialogue, parcel: Parcel, *, fresh: bool, begun: bool = False
    ) -> tuple[Parcel | None, bool]:
        """Send one mail; return the next one, and whether its envelope is on its way."""
        verdict = self._envelope(dialogue, parcel, begun=begun)
        if verdict is None:
            if self._shift.enter(parcel.claim):
                return self._body(dialogue, parcel)
            self._line.drop()  # DATA is open, and only a message or the end of the connection closes it
        elif is_stale(verdict) and not fresh and not (begun and verdict.reply.code is None):
            self._line.drop()
            return parcel, False
        elif verdict.reply.code in _NOT_UNDERSTOOD and monotonic() < self._ends():
            return self._send_one_by_one(parcel), False
        return self._settle(parcel, verdict), False

    def _send_one_by_one(self, parcel: Parcel) -> Parcel | None:
        """Try again on a new connection and without a group, whose verdict it was not."""
        self._line.drop()
        dialogue = self._line.connect(self._ends())
        if isinstance(dialogue, Verdict):
            return self._settle(parcel, dialogue)
        verdict = self._transact(dialogue, parcel)
        if verdict is not None and verdict.reply.code not in _NOT_UNDERSTOOD:
            self._line.grouped(understood=False)
        return self._settle(parcel, verdict)

    def _transact(self, dialogue: Dialogue, parcel: Parcel) -> Verdict | None:
        """Hold the plain dialogue; None: the claim was lost before DATA, and the shift saw to it."""
        try:
            return self._line.transact(dialogue, parcel.envelope, lambda: self._shift.enter(parcel.claim), self._ends())
        except Fenced:
            return None

    def _envelope(self, dialogue: Dialogue, parcel: Parcel, *, begun: bool) -> Verdict | None:
        """Say MAIL, RCPT and DATA in one group, if that was not done, and hear the answers; None: all accepted."""
        dialogue.channel.ends = self._ends()
        if not begun and (verdict := oversize(dialogue, parcel.envelope)) is not None:
            return verdict
        try:
            if not begun:
                dialogue.begin(commands(dialogue, parcel.envelope))
            verdict = hear_envelope(dialogue)
        except Broken as error:
            return blame.broken(dialogue.phase, str(error))
        if begun and verdict is None:
            self._line.grouped(understood=True)
        self._line.used(sent=False)
        return verdict

    def _body(self, dialogue: Dialogue, parcel: Parcel) -> tuple[Parcel | None, bool]:
        """Write the message, and the next one's envelope with it; return the next one and whether it has begun."""
        self._following = self._choose_following(dialogue)
        ahead = commands(dialogue, self._following.envelope) if self._following is not None else b""
        try:
            reply = dialogue.write_message(parcel.envelope.wire, ahead, small=SMALL)
            if reply is None:
                if self._following is not None and 0 < self._answer_took < AT_ONCE:
                    self._ready = self._next()
                reply = self._answer(dialogue)
            verdict = blame.judge(dialogue.phase, reply)
            # After the final dot every reply decides; were one not to, nobody would know what became of the mail.
            verdict = verdict or blame.broken(dialogue.phase, "the relay's answer decides nothing")
        except Broken as error:
            verdict = blame.broken(dialogue.phase, str(error))
        following, self._following = self._following, None
        if verdict.outcome is Outcome.SENT and (following is not None or not ahead):
            self._line.used(sent=True)
            self._report(parcel, verdict)
            return (following, True) if following is not None else (self._next(), False)
        # After an error from DATA on, relays differ in what they take the next line for; and an envelope whose message
        # was given back can only be left.
        self._line.drop()
        if following is not None:
            self._shift.give_back(following.claim)
        return self._settle(parcel, verdict), False

    def _choose_following(self, dialogue: Dialogue) -> Parcel | None:
        """Take the mail whose envelope goes out with this one's body, unless the relay is slow or it is the last."""
        if self._answer_took > QUICK or self._line.is_last():
            return None
        while (following := self._next()) is not None:
            verdict = oversize(dialogue, following.envelope)
            if verdict is None:
                break
            self._shift.report(following.claim, verdict.after(0.0))
        return following

    def _answer(self, dialogue: Dialogue) -> Reply:
        """Hear the answer to the final dot; the next mail is given back when that takes long. Raises Broken."""
        written = monotonic()
        try:
            until = dialogue.channel.until()
            if self._answer_took < AT_ONCE:
                self._look(dialogue)
            reply = dialogue.hear(min(until, written + PATIENCE))
            if reply is None:
                if self._following is not None:
                    self._shift.give_back(self._following.claim)
                    self._following = None
                self._unpack()
                reply = dialogue.read(until)
            return reply
        finally:
            self._answer_took = monotonic() - written

    def _look(self, dialogue: Dialogue) -> None:
        """Take in the answer, without being told that it has come, where it comes as fast as others send a mail."""
        if self._waits:
            self._waits -= 1
        elif dialogue.glance():
            self._vain = 0
        else:
            self._waits, self._vain = self._vain, min(2 * self._vain + 1, VAIN)

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
        if self._ready is None:
            return self._pack(self._shift.next())
        parcel, self._ready = self._ready, None
        return parcel

    def _unpack(self) -> None:
        """Give back what was made ready and is not wanted now."""
        if self._ready is not None:
            self._shift.give_back(self._ready.claim)
            self._ready = None

    def _settle(self, parcel: Parcel, verdict: Verdict | None) -> Parcel | None:
        """Report, unless the shift knows (no verdict), and return the next mail; none while the relay is in trouble."""
        if verdict is not None:
            if self._line.aborted and verdict.reply.code is None and verdict.outcome is not Outcome.UNKNOWN:
                # We broke it off ourselves, and nothing was handed over: no attempt, and no fault of the relay.
                verdict = verdict._replace(outcome=Outcome.RELEASED, blame=Blame.NOBODY)
            self._report(parcel, verdict)
            if verdict.outcome is Outcome.RELEASED or self._line.aborted:
                return None
        self._began = monotonic()
        return self._next()

    def _report(self, parcel: Parcel, verdict: Verdict) -> None:
        now = monotonic()
        self._shift.report(parcel.claim, verdict.after(now - self._began))
        self._began = now

    def _ends(self) -> float:
        """Return when the present mail's whole transaction must be over."""
        return self._began + self._line.relay.deadline
