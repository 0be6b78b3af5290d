"""One mail transaction: the envelope, the fence, the message and its final dot (RFC 5321 section 3.3)."""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from api.core.claim import Blame
from api.delivery import blame, mime
from api.delivery.blame import Verdict
from api.delivery.channel import Broken
from api.delivery.dialogue import Dialogue
from schemas.vocabulary import Outcome, Phase

_ADDRESS = re.compile(r"[!-;=?-~]{1,254}")
_OPTION = re.compile(r"[!-~]+")


class Fenced(Exception):
    """The claim was lost before DATA; nothing was handed over."""


class Envelope(NamedTuple):
    """One message to one recipient, ready for the wire; made by `seal`."""

    sender: str
    recipient: str
    #: Octets of the message before dot-stuffing, as SIZE counts them (RFC 1870 section 3).
    size: int
    #: Dot-stuffed, the final dot included.
    wire: bytes
    mail_options: tuple[str, ...]
    rcpt_options: tuple[str, ...]


def seal(
    message: bytes, *, sender: str, recipient: str, mail_options: Sequence[str] = (), rcpt_options: Sequence[str] = ()
) -> Envelope:
    """Return an assembled message in its envelope. Raises UnsendableMessage, also for what would break a command."""
    wire = mime.dot_stuff(message)
    _check_address("sender", sender)
    _check_address("recipient", recipient)
    options = (*mail_options, *rcpt_options)
    if options and not all(_OPTION.fullmatch(option) for option in options):
        raise mime.UnsendableMessage("An ESMTP option holds a space, a line end or the like.")
    return Envelope(sender, recipient, len(message), wire, tuple(mail_options), tuple(rcpt_options))


def _check_address(what: str, address: str) -> None:
    if not _ADDRESS.fullmatch(address):
        raise mime.UnsendableMessage(f"The {what} is not an address that SMTP can carry.")


def always() -> bool:
    """Confirm every time, where nobody else could hold the message."""
    return True


def transact(dialogue: Dialogue, envelope: Envelope, confirm: Callable[[], bool] = always) -> Verdict:
    """Hand the message over to the relay, and return what came of it.

    `confirm` is asked once the recipient is accepted, before DATA; False withdraws and raises Fenced. Raises Broken,
    with the dialogue's `phase` telling where. Afterwards the dialogue is ready for another mail unless it is closed.
    """
    verdict = oversize(dialogue, envelope)
    if verdict is not None:
        return verdict
    verdict = _send_envelope(dialogue, envelope)
    if verdict is None:
        if not confirm():
            withdraw(dialogue)
            raise Fenced
        verdict = _send_message(dialogue, envelope.wire)
        if verdict.outcome is not Outcome.SENT:
            # After an error from DATA on, relays differ in what they take the next line for.
            dialogue.close()
    elif verdict.blame in (Blame.RECIPIENT, Blame.MESSAGE):
        withdraw(dialogue)
    else:
        dialogue.close()
    return verdict


def commands(dialogue: Dialogue, envelope: Envelope) -> bytes:
    """Return MAIL, RCPT and DATA as one group: DATA is the last of its group (RFC 2920 section 3.1)."""
    lines = (_mail(dialogue, envelope), _rcpt(envelope), "DATA", "")
    return "\r\n".join(lines).encode("ascii")


def oversize(dialogue: Dialogue, envelope: Envelope) -> Verdict | None:
    """Return the verdict on a message that is larger than the relay announced to take."""
    limit = _size_limit(dialogue.esmtp_features.get("size", ""))
    return blame.oversized(envelope.size, limit) if limit is not None and envelope.size > limit else None


def hear_envelope(dialogue: Dialogue) -> Verdict | None:
    """Hear what is said to MAIL, RCPT and DATA, which went out as one group; None means that DATA is open.

    What was refused stands, whatever comes behind it; Broken is raised only while nothing was. After a refusal the
    dialogue is ready for another mail unless it is closed.
    """
    dialogue.phase = Phase.MAIL
    if dialogue.hear_accepted():
        return None
    for unheard, phase in ((2, Phase.MAIL), (1, Phase.RCPT), (0, Phase.DATA)):
        dialogue.phase = phase
        verdict = blame.judge(phase, dialogue.read())
        if verdict is not None:
            _end_group(dialogue, verdict, unheard)
            return verdict
    return None


def _end_group(dialogue: Dialogue, verdict: Verdict, unheard: int) -> None:
    """Hear out a group that was refused and take its envelope back, or close where it is not sure what comes next."""
    try:
        if unheard and verdict.reply.code is not None and verdict.blame in (Blame.RECIPIENT, Blame.MESSAGE):
            codes = [dialogue.read().code or 0 for _ in range(unheard)]
            # A relay may wait for the message all the same (RFC 2920 section 3.1), and would get it for nobody.
            if codes[-1] >= 400 and 421 not in codes:
                withdraw(dialogue)
                return
    except Broken:
        pass
    dialogue.close()


def _send_envelope(dialogue: Dialogue, envelope: Envelope) -> Verdict | None:
    """Say MAIL and RCPT; None means that both were accepted."""
    verdict = blame.judge(Phase.MAIL, dialogue.command(Phase.MAIL, _mail(dialogue, envelope)))
    if verdict is None:
        verdict = blame.judge(Phase.RCPT, dialogue.command(Phase.RCPT, _rcpt(envelope)))
    return verdict


def _mail(dialogue: Dialogue, envelope: Envelope) -> str:
    size = (f"SIZE={envelope.size}",) if dialogue.has_extn("size") else ()
    return " ".join((f"MAIL FROM:<{envelope.sender}>", *envelope.mail_options, *size))


def _rcpt(envelope: Envelope) -> str:
    return " ".join((f"RCPT TO:<{envelope.recipient}>", *envelope.rcpt_options))


def _send_message(dialogue: Dialogue, wire: bytes) -> Verdict:
    verdict = blame.judge(Phase.DATA, dialogue.command(Phase.DATA, "DATA"))
    if verdict is None:
        reply = dialogue.write_message(wire) or dialogue.read()
        verdict = blame.judge(dialogue.phase, reply)
    # After the final dot every reply decides; were one not to, nobody would know what became of the mail.
    return verdict or blame.broken(dialogue.phase, "the relay's answer decides nothing")


def withdraw(dialogue: Dialogue) -> None:
    """Take the envelope back, or close the connection where that fails; the verdict stands either way."""
    phase = dialogue.phase
    try:
        code, _ = dialogue.rset()
    except Broken:
        code = 0
    if not 200 <= code <= 299:
        dialogue.close()
    dialogue.phase = phase


@lru_cache(maxsize=16)
def _size_limit(told: str) -> int | None:
    """Return how many octets the relay takes at most, if it said so; 0 means no limit (RFC 1870 section 4)."""
    # RFC 1870 has at most 20 digits; Python refuses to read thousands.
    return int(told[:20]) or None if told.isascii() and told.isdigit() else None
