"""What a recording sink kept, and whether it is what was sent: each mail exactly once, and intact."""

import email
import email.policy
from collections import Counter
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from statistics import mean

from benchmarks.letters import letter


def records(spool: Path) -> Iterator[tuple[list[str], bytes]]:
    """Give each message: its recipients, and what was on the wire before the final dot."""
    with spool.open("rb") as file:
        while line := file.readline():
            recipients, size = line.split(b" ")
            yield recipients.decode().split(","), file.read(int(size))


def check_once(spool: Path, count: int) -> None:
    """Raise AssertionError unless each of the first `count` letters came exactly once."""
    check_all_once(spool, {letter(number).recipient for number in range(count)})


def check_all_once(spool: Path, expected: set[str]) -> None:
    """Raise AssertionError unless each of these recipients got exactly one message, and nobody else any."""
    count = len(expected)
    seen = Counter(recipient for recipients, _ in records(spool) for recipient in recipients)
    missing, twice = expected - set(seen), [one for one, times in seen.items() if times > 1]
    assert set(seen) == expected, f"{len(missing)} of {count} are missing, {len(set(seen) - expected)} were not sent"
    assert not twice, f"{len(twice)} came more than once"


def mean_size(spool: Path) -> float:
    """Return the octets of a message on the wire, on average."""
    return mean(len(wire) for _, wire in records(spool))


def check_intact(spool: Path) -> None:
    """Raise AssertionError unless each message reads, by the standard library, as the letter it was."""
    for recipients, wire in records(spool):
        number = int(recipients[0].removeprefix("user").partition("@")[0])
        one = letter(number)
        # A dot at the start of a line was doubled on its way (RFC 5321 section 4.5.2).
        raw = wire.replace(b"\r\n..", b"\r\n.").removeprefix(b".")
        message = email.message_from_bytes(raw, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        assert [message["Subject"], message["To"]] == [one.subject, one.recipient], message["Subject"]
        assert _content(message, "plain") == _lines(one.text), f"text of {number}"
        assert _content(message, "html") == _lines(one.html), f"HTML of {number}"


def _content(message: EmailMessage, kind: str) -> list[str]:
    part = message.get_body((kind,))
    assert part is not None, f"no {kind} part"
    return _lines(str(part.get_content()))


def _lines(text: str) -> list[str]:
    """Return the lines: how they end, and how many empty ones follow, is each sender's own business."""
    return text.replace("\r\n", "\n").rstrip().split("\n")
