"""What random messages are when a real relay has taken them: one each, equal to what was written, and nothing else.

Many go over one connection, pipelined and not, to a relay that knows the final dot and to one that takes other line
ends for it, too, as servers open to SMTP smuggling do. The received bytes are read by the standard library.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import getaddresses, parsedate_to_datetime
from typing import Any

import idna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.core import addresses
from api.core.claim import Address, Blame, Claim, Content
from schemas.vocabulary import Outcome, Phase
from tests.delivery.given import a_claim, mail_to
from tests.delivery.pile import Pile, Streaming
from tests.relay.process import Relay
from tests.relay.records import Message

#: What a server, or a parser behind it, might take for the end of the message, of the header, or for a command.
SMUGGLED = [
    "\r\n.\r\n",
    "\n.\n",
    "\r.\r",
    "\n.\r\n",
    "\r\n.\n",
    "\r\n.\r",
    "\r.\r\n",
    "\r.\n",
    "\n.\r",
    "\n\n.\n\n",
    "\r\n..\r\n",
    "\r\n.\x00\r\n",
    "\u2028.\u2028",
    "\x85.\x85",
]
COMMANDS = "MAIL FROM:<eve@evil.example>\r\nRCPT TO:<victim@evil.example>\r\nDATA\r\nSubject: smuggled\r\n\r\nhello"
FRAGMENTS = [
    *SMUGGLED,
    *(f"{end}{COMMANDS}{end}" for end in SMUGGLED),
    *(".", "..", ".\n", "\n.hidden", "\nFrom eve", "\n\nBcc: eve@evil.example\n", "=2E", "=\n", "--=_", "\t \n"),
    *(
        "x" * 997,
        "x" * 998,
        "x" * 999,
        "z" * 10_000,
        "漢字" * 400,
        "👩‍👩‍👧‍👦" * 40,
        "שלום",
        "مرحبا",
        "e\u0301",
        "\u202e",
    ),
]
text = st.lists(st.sampled_from(FRAGMENTS) | st.text(st.characters(codec="utf-8"), max_size=40), max_size=8).map(
    "".join
)
line = st.lists(
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=25)
    | st.sampled_from(
        ['"', "\\", ",", ";", "<eve@evil.example>", "=?utf-8?q?x?=", " ", "y" * 300, "漢字" * 40, "👩‍👩‍👧‍👦"]
    ),
    max_size=4,
).map("".join)
labels = ["straße", "bücher", "日本語", "россия", "παράδειγμα", "भारत", "ไทย", "فارسی", "plain", "x" * 63]
domain = st.lists(
    st.sampled_from(labels) | st.text("abcäöüßéèñçøåłžš", min_size=1, max_size=20), min_size=1, max_size=3
)
email = st.builds(
    lambda local, parts: f"{local}@{'.'.join(parts)}.example",
    st.text("abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-/=?^_`{|}~", min_size=1, max_size=20),
    domain,
)
mailbox = st.builds(lambda email, name: Address(addresses.normalise(email), name), email, st.none() | line)
letter = st.builds(
    Content,
    message_id=st.uuids().map("<{}@mail.example.org>".format),
    date=st.datetimes(min_value=datetime(2000, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 -- the zone is drawn
    sender=mailbox,
    to=st.lists(mailbox, max_size=3).map(tuple),
    cc=st.lists(mailbox, max_size=2).map(tuple),
    reply_to=st.lists(mailbox, max_size=1).map(tuple),
    subject=line,
    text=text,
    html=st.none() | text,
    headers=st.lists(st.tuples(st.sampled_from(["X-Order", "List-Unsubscribe"]), line), max_size=2).map(tuple),
    attachments=st.just(()),
)
claim = st.builds(lambda content, to: a_claim(to.email, **content._asdict()), letter, mailbox)
claims = st.lists(claim, min_size=1, max_size=6)
random_mail = settings(
    max_examples=15,
    deadline=None,
    # One relay and one connection serve all examples: that is what is tested.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


class Wire:
    """A kept line to a relay: hands over claims and tells what arrived since."""

    def __init__(self, relay: Relay, streaming: Streaming) -> None:
        self.relay = relay
        self._streaming = streaming

    def hand_over(self, mails: list[Claim]) -> tuple[Pile, dict[str, Message]]:
        """Send the claims in one stream; return what came of them, and by Message-ID what arrived, once each."""
        before = len(self.relay.messages())
        pile = self._streaming.send(*mails)
        arrived = self.relay.messages()[before:]
        found = {message.message_id or "": message for message in arrived}
        assert len(found) == len(arrived)
        assert self.relay.violations() == []
        return pile, found

    def deliver(self, mails: list[Claim]) -> list[tuple[Content, Message]]:
        """Send the claims, see that each arrived once for its recipient, and return them with what arrived."""
        pile, arrived = self.hand_over(mails)
        assert {outcome for outcomes in pile.outcomes().values() for outcome in outcomes} == {Outcome.SENT}
        assert arrived.keys() == {one.content.message_id for one in mails}
        for one in mails:
            message = arrived[one.content.message_id]
            assert (message.sender, message.recipients) == (one.content.sender.email, (one.recipient,))
        return [(one.content, arrived[one.content.message_id]) for one in mails]


@pytest.fixture(scope="module")
def busy_relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """A relay that is asked often what it took."""
    with Relay(tmp_path_factory.mktemp("busy")) as relay:
        yield relay


@pytest.fixture(params=["pipelined", "plain", "pipelined, loose dot", "plain, loose dot"])
def wire(request: pytest.FixtureRequest, busy_relay: Relay) -> Iterator[Wire]:
    """A line to a relay, in each dialogue and for each idea of a final dot."""
    relay = busy_relay
    relay.reset()
    relay.configure(pipelining="pipelined" in request.param, loose_dot="loose" in request.param)
    with Streaming(mail_to(relay)) as streaming:
        yield Wire(relay, streaming)
    assert len(relay.connections()) <= 1


def with_crlf(written: str) -> str:
    return written.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")


def text_of(message: EmailMessage, kind: str) -> str:
    [part] = [part for part in message.walk() if part.get_content_type() == kind]
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode()


def people_of(message: EmailMessage, name: str) -> list[tuple[str, str]]:
    """Return name and address of each mailbox in a header, each word of which is decoded."""
    value = str(dict(message.raw_items()).get(name, "")).replace("\r\n", "")
    if value.endswith(":;"):
        return []
    return [(str(make_header(decode_header(shown))), box) for shown, box in getaddresses([value] if value else [])]


def written(people: tuple[Address, ...]) -> list[tuple[str, str]]:
    return [(person.name or "", person.email) for person in people]


@random_mail
@given(claims)
def test_random_mail_arrives_as_it_was_written(wire: Wire, claims: list[Claim]) -> None:
    for content, message in wire.deliver(claims):
        parsed = message.parsed
        assert not any(part.defects for part in parsed.walk())
        assert parsed["Subject"] == content.subject
        assert parsedate_to_datetime(parsed["Date"]) == content.date.replace(microsecond=0)
        assert people_of(parsed, "From") == written((content.sender,))
        assert people_of(parsed, "To") == written(content.to)
        assert people_of(parsed, "Cc") == written(content.cc)
        assert people_of(parsed, "Reply-To") == written(content.reply_to)
        assert not isinstance(content.text, bytes)
        assert not isinstance(content.html, bytes)
        plain = text_of(parsed, "text/plain")
        # A 7bit text that is the whole message gains the end of its last line.
        assert plain in (with_crlf(content.text or ""), with_crlf(content.text or "") + "\r\n")
        assert content.html is None or text_of(parsed, "text/html") == with_crlf(content.html)


@random_mail
@given(claims)
def test_random_mail_arrives_in_lines_that_every_server_reads_alike(wire: Wire, claims: list[Claim]) -> None:
    for _, message in wire.deliver(claims):
        lines = message.raw.split(b"\r\n")
        assert max(map(len, lines)) <= 998
        assert not any(b"\r" in each or b"\n" in each for each in lines)
        assert b"." not in lines
        assert message.raw.isascii()


@random_mail
@given(claims)
def test_random_mail_has_the_headers_it_was_given_and_no_other(wire: Wire, claims: list[Claim]) -> None:
    for content, message in wire.deliver(claims):
        parsed = message.parsed
        names = ["Date", "From", "Message-ID", "Subject", "MIME-Version", *(name for name, _ in content.headers)]
        names += [name for name, people in (("Cc", content.cc), ("Reply-To", content.reply_to)) if people]
        names += ["To"] if content.to or not content.cc else []
        found = [name for name in parsed.keys() if not name.startswith("Content-")]  # noqa: SIM118 -- a name may repeat
        assert sorted(found) == sorted(names)
        values = [(name, str(value).replace("\r\n", "").strip(" ")) for name, value in parsed.raw_items()]
        custom = [value for name, value in values if name in ("X-Order", "List-Unsubscribe")]
        for value, (_, asked) in zip(custom, content.headers, strict=True):
            # ASCII stands as it is: RFC 8058 knows no encoded words.
            assert (value if asked.isascii() else str(make_header(decode_header(value)))) == asked.strip(" ")


@random_mail
@given(email)
def test_a_domain_in_any_script_is_written_to_by_its_own_name(wire: Wire, email: str) -> None:
    """By IDNA 2008: by IDNA 2003, straße.example would be strasse.example, which belongs to somebody else."""
    ascii_form = addresses.normalise(email)

    [(_, message)] = wire.deliver([a_claim(ascii_form, to=(Address(ascii_form),))])

    local, _, domain = message.recipients[0].rpartition("@")
    assert local == email.rpartition("@")[0]
    assert idna.decode(domain) == idna.decode(idna.encode(email.rpartition("@")[2]))
    assert people_of(message.parsed, "To") == [("", ascii_form)]


@pytest.mark.parametrize("part", ["text", "html"])
@pytest.mark.parametrize("end", SMUGGLED)
def test_a_message_smuggled_behind_any_end_stays_text(wire: Wire, part: str, end: str) -> None:
    smuggled = f"hello{end}{COMMANDS}{end}QUIT{end}"
    claims = [a_claim("ann@example.org"), a_claim("bob@example.org", **{part: smuggled}), a_claim("eve@example.org")]

    messages = wire.deliver(claims)

    _, message = messages[1]
    found = text_of(message.parsed, "text/plain" if part == "text" else "text/html")
    assert found.removesuffix("\r\n") == with_crlf(smuggled).removesuffix("\r\n")
    assert not any("evil" in command.line for command in wire.relay.commands())


@contextmanager
def nothing_of(wire: Wire) -> Iterator[None]:
    """See that the relay hears nothing of `evil`, neither in a command nor in a message."""
    yield
    assert not any("evil" in command.line for command in wire.relay.commands())
    assert not any(b"evil" in message.raw for message in wire.relay.messages())


unsafe = st.sampled_from(["\r\n", "\n", "\r", "\x00", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\ud800"])
injected = st.builds(
    lambda before, control, after: f"{before}{control}Bcc: eve@evil.example{control}{after}", line, unsafe, line
)
PLACES: dict[str, Any] = {
    "subject": lambda value: {"subject": value},
    "a name": lambda value: {"to": (Address("ann@example.org", value),)},
    "the sender's name": lambda value: {"sender": Address("room@example.org", value)},
    "a header": lambda value: {"headers": (("X-Order", value),)},
    "a header's name": lambda value: {"headers": ((value, "7"),)},
    "the sender": lambda value: {"sender": Address(f"room{value}@example.org")},
    "an address": lambda value: {"to": (Address(f"ann{value}@example.org"),)},
    "the Message-ID": lambda value: {"message_id": f"<{value}@example.org>"},
}


@pytest.mark.parametrize("place", PLACES)
@random_mail
@given(value=injected)
def test_what_would_inject_a_header_is_not_sent_and_holds_up_nobody(wire: Wire, place: str, value: str) -> None:
    bad = a_claim("bad@example.org", **PLACES[place](value))
    others = [a_claim("ann@example.org"), a_claim("bob@example.org")]

    with nothing_of(wire):
        pile, arrived = wire.hand_over([others[0], bad, others[1]])

    [result] = pile.results["bad@example.org"]
    assert (result.outcome, result.blame, result.phase) == (Outcome.FAILED, Blame.MESSAGE, Phase.MESSAGE)
    assert arrived.keys() == {other.content.message_id for other in others}


@random_mail
@given(st.text(st.characters(), max_size=30) | injected)
def test_a_recipient_is_written_to_as_it_stands_or_not_at_all(wire: Wire, recipient: str) -> None:
    pile, arrived = wire.hand_over([a_claim(recipient)])

    [result] = pile.results[recipient]
    assert [message.recipients for message in arrived.values()] == ([(recipient,)] if arrived else [])
    assert (result.outcome is Outcome.SENT) == bool(arrived)
