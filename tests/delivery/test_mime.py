import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes
from email.header import decode_header, make_header
from email.policy import compat32, default
from email.utils import getaddresses
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.core.claim import Address, Attachment, Content
from api.delivery.mime import UnsendableMessage, assemble, dot_stuff

ROOT = Path(__file__).parents[2]
LETTER = Content(
    message_id="<0190f7a2@mail.example.org>",
    date=datetime(2027, 1, 1, 9, 0, 0, tzinfo=UTC),
    sender=Address("noreply@example.org", "Postroom"),
    to=(Address("ann@example.org", "Ann Lee"),),
    cc=(),
    reply_to=(),
    subject="Hello",
    text="Hello Ann\n",
    html="<p>Hello Ann</p>\n",
)
LOGO = Attachment("logo.png", "image/png", b"\x89PNG", "logo")
BILL = Attachment("bill.pdf", "application/pdf", b"%PDF")
OWN = ["Date", "From", "To", "Message-ID", "Subject", "MIME-Version", "Content-Type"]

FRAGMENTS = [
    *(
        "\n",
        "\r\n",
        "\r",
        "\n.\n",
        "\r\n.\r\n",
        "\r.\r",
        "\n.\r\n",
        "\r\n.\n",
        ".",
        "\n.x",
        "From ",
        "\nFrom ",
        "=",
        " \n",
    ),
    *("\r\n.\r\nMAIL FROM:<eve@evil.example>\r\nRCPT TO:<x@y.example>\r\nDATA\r\n", "\n\nBcc: eve@evil.example\n"),
    *(
        "x" * 10_000,
        "y" * 998,
        "漢字" * 200,
        "👩‍👩‍👧‍👦" * 30,
        "שלום עולם",
        "مرحبا",
        "e\u0301\u0323",
        "\u202e",
        "\x00",
        "\x85",
        "\u2028",
    ),
    *("\r\n--=_", "--", "\t\n", "=?utf-8?q?x?="),
]
body = st.lists(st.sampled_from(FRAGMENTS) | st.text(st.characters(codec="utf-8"), max_size=30), max_size=12).map(
    "".join
)
header_text = st.lists(
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=20)
    | st.sampled_from(
        ["=?utf-8?q?x?=", "<eve@evil.example>", '"', "\\", ",", " ", "x" * 200, "漢字" * 30, "👩‍👩‍👧‍👦", "שלום"]
    ),
    max_size=5,
).map("".join)
address = st.builds(Address, st.integers(0, 9).map(lambda n: f"user{n}@xn--bcher-kva.example"), st.none() | header_text)
people = st.lists(address, max_size=3).map(tuple)
attachment = st.builds(
    Attachment,
    header_text.filter(lambda name: name == name.strip()),
    st.sampled_from(["application/pdf", "image/png", "text/plain; charset=utf-8"]),
    st.binary(max_size=200),
    st.none() | st.sampled_from(["logo", "logo@example.org"]),
)
letter = st.builds(
    Content,
    message_id=st.uuids().map("<{}@mail.example.org>".format),
    date=st.datetimes(min_value=datetime(2000, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 -- the zone is drawn
    sender=address,
    to=people,
    cc=people,
    reply_to=people,
    subject=header_text,
    text=st.none() | body,
    html=st.none() | body,
    headers=st.lists(st.tuples(st.sampled_from(["X-Order", "List-Unsubscribe"]), header_text), max_size=2).map(tuple),
    attachments=st.lists(attachment, max_size=3).map(tuple),
)


def with_crlf(text):
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")


def parsed(content):
    message = message_from_bytes(assemble(content), policy=default)
    assert not any(part.defects for part in message.walk())
    return message


def shape(part):
    """The tree of media types."""
    if not part.is_multipart():
        return part.get_content_type()
    return part.get_content_type().removeprefix("multipart/"), [shape(child) for child in part.iter_parts()]


def texts(message):
    """The text bodies by media type, a file's not among them."""
    leaves = [part for part in message.walk() if not part.is_multipart() and "Content-Disposition" not in part]
    return {leaf.get_content_type(): leaf.get_payload(decode=True).decode() for leaf in leaves}


def expected_texts(content, message):
    """What `texts` must give: equal texts; a 7bit text that is the whole message has its last line ended."""
    written = {"text/plain": content.text, "text/html": content.html}
    given = {kind: with_crlf(text) for kind, text in written.items() if text is not None} or {"text/plain": ""}
    if message["Content-Transfer-Encoding"] == "7bit":
        [(kind, text)] = given.items()
        return {kind: text if not text or text.endswith("\r\n") else text + "\r\n"}
    return given


def unnamed(people):
    """The same people, an empty name being none."""
    return tuple(person._replace(name=person.name or None) for person in people)


def mailboxes(message, name):
    """The mailboxes by the old parser: the new one keeps the space between two encoded words of a name."""
    value = message.get(name, "").replace("\r\n", "")
    pairs = getaddresses([value]) if value and not value.endswith(":;") else []
    return tuple(Address(email, str(make_header(decode_header(display))) or None) for display, email in pairs)


def header_names(raw):
    block = raw.partition(b"\r\n\r\n")[0].split(b"\r\n")
    return [line.partition(b":")[0].decode() for line in block if not line.startswith(b" ")]


def unstuffed(wire):
    """What a server that follows RFC 5321 4.5.2 to the letter takes for the message, and what it takes for commands."""
    lines = wire.split(b"\r\n")
    end = lines.index(b".")
    return b"".join(line.removeprefix(b".") + b"\r\n" for line in lines[:end]), b"\r\n".join(lines[end + 1 :])


@settings(deadline=None, max_examples=200)
@given(letter)
def test_any_letter_arrives_as_one_message_with_equal_parts(content):
    raw = assemble(content)
    message = message_from_bytes(raw, policy=compat32)
    modern = message_from_bytes(raw, policy=default)

    assert modern["Subject"] == content.subject
    assert mailboxes(message, "From") == unnamed((content.sender,))
    assert mailboxes(message, "To") == unnamed(content.to)
    assert mailboxes(message, "Cc") == unnamed(content.cc)
    assert mailboxes(message, "Reply-To") == unnamed(content.reply_to)
    assert texts(modern) == expected_texts(content, modern)
    files = [part for part in message.walk() if "Content-Disposition" in part]
    shown = content.html is not None
    ordered = sorted(content.attachments, key=lambda a: not (shown and a.content_id is not None))
    assert [(part.get_filename() or "", part.get_payload(decode=True), part["Content-ID"]) for part in files] == [
        (a.filename, a.content, f"<{a.content_id}>" if a.content_id else None) for a in ordered
    ]


@settings(deadline=None, max_examples=200)
@given(letter)
def test_any_letter_has_the_bytes_of_one_safe_message(content):
    raw = assemble(content)

    bare = raw.replace(b"\r\n", b"")
    assert b"\r" not in bare
    assert b"\n" not in bare
    assert raw.isascii()
    assert raw.endswith(b"\r\n")
    lines = raw.split(b"\r\n")
    assert max(map(len, lines)) <= 998
    assert b"." not in lines
    assert unstuffed(dot_stuff(raw)) == (raw, b"")
    assert assemble(content._replace()) == raw


@settings(deadline=None, max_examples=200)
@given(letter)
def test_any_letter_has_exactly_the_headers_it_was_given_in_their_order(content):
    expected = ["Date", "From"]
    expected += ["To"] if content.to or not content.cc else []
    expected += ["Cc"] if content.cc else []
    expected += ["Reply-To"] if content.reply_to else []
    expected += ["Message-ID", "Subject", *(name for name, _ in content.headers), "MIME-Version"]

    names = header_names(assemble(content))

    assert [name for name in names if not name.startswith("Content-")] == expected
    assert sorted(names[len(expected) :]) in (["Content-Type"], ["Content-Transfer-Encoding", "Content-Type"])


def test_a_letter_has_this_form():
    assert assemble(LETTER).split(b"\r\n")[:15] == [
        b"Date: Fri, 01 Jan 2027 09:00:00 +0000",
        b"From: Postroom <noreply@example.org>",
        b"To: Ann Lee <ann@example.org>",
        b"Message-ID: <0190f7a2@mail.example.org>",
        b"Subject: Hello",
        b"MIME-Version: 1.0",
        b"Content-Type: multipart/alternative;",
        b' boundary="=_fff90ca5c658c357404ff19b7fd9f612"',
        b"",
        b"",
        b"--=_fff90ca5c658c357404ff19b7fd9f612",
        b'Content-Type: text/plain; charset="utf-8"',
        b"Content-Transfer-Encoding: 7bit",
        b"",
        b"Hello Ann",
    ]


ALTERNATIVE = ("alternative", ["text/plain", "text/html"])
SHAPES = {
    "text": ({"html": None}, "text/plain"),
    "html": ({"text": None}, "text/html"),
    "nothing": ({"text": None, "html": None}, "text/plain"),
    "both": ({}, ALTERNATIVE),
    "text and a file": ({"html": None, "attachments": (BILL,)}, ("mixed", ["text/plain", "application/pdf"])),
    "both and a file": ({"attachments": (BILL,)}, ("mixed", [ALTERNATIVE, "application/pdf"])),
    "both and an image": ({"attachments": (LOGO,)}, ("related", [ALTERNATIVE, "image/png"])),
    "html and an image": ({"text": None, "attachments": (LOGO,)}, ("related", ["text/html", "image/png"])),
    "an image that no html shows": ({"html": None, "attachments": (LOGO,)}, ("mixed", ["text/plain", "image/png"])),
    "everything": (
        {"attachments": (BILL, LOGO)},
        ("mixed", [("related", [ALTERNATIVE, "image/png"]), "application/pdf"]),
    ),
}


@pytest.mark.parametrize(("changes", "tree"), SHAPES.values(), ids=SHAPES)
def test_the_tree_has_no_more_levels_than_it_needs(changes, tree):
    message = parsed(LETTER._replace(**changes))

    assert shape(message) == tree


def test_a_related_part_names_the_type_of_its_root():
    both = parsed(LETTER._replace(attachments=(LOGO,)))
    html = parsed(LETTER._replace(text=None, attachments=(LOGO,)))

    assert both["Content-Type"].params["type"] == "multipart/alternative"
    assert html["Content-Type"].params["type"] == "text/html"


def test_an_image_of_the_html_is_inline_and_a_file_is_not():
    message = parsed(LETTER._replace(attachments=(BILL, LOGO)))
    image, bill = (part for part in message.walk() if part.get_filename())

    assert (image.get_content_disposition(), image["Content-ID"]) == ("inline", "<logo>")
    assert (bill.get_content_disposition(), bill["Content-ID"]) == ("attachment", None)


def test_an_image_that_no_html_shows_is_attached():
    message = parsed(LETTER._replace(html=None, attachments=(LOGO,)))

    assert [part.get_content_disposition() for part in message.iter_attachments()] == ["attachment"]


def test_blind_copies_alone_leave_the_recipients_undisclosed():
    message = parsed(LETTER._replace(to=()))

    assert message["To"] == "undisclosed-recipients:;"
    assert message["To"].addresses == ()


def test_a_copy_without_a_recipient_has_no_to():
    message = parsed(LETTER._replace(to=(), cc=(Address("bob@example.org"),)))

    assert message.keys() == [name if name != "To" else "Cc" for name in OWN]


def test_the_same_content_gives_the_same_bytes_in_another_process():
    content = LETTER._replace(subject="漢字", text="漢字", attachments=(BILL, LOGO))
    program = (
        "import datetime, hashlib, sys\n"
        "from api.core.claim import Address, Attachment, Content\n"
        "from api.delivery.mime import assemble\n"
        "print(hashlib.sha256(assemble(eval(sys.argv[1]))).hexdigest())"
    )

    digests = [
        subprocess.run(
            [sys.executable, "-c", program, repr(content)],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed, "TZ": zone},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed, zone in (("1", "UTC"), ("2", "Asia/Kathmandu"))
    ]

    assert digests == [sha256(assemble(content)).hexdigest()] * 2


def test_a_text_forged_to_hold_the_boundary_makes_another_boundary():
    boundary = parsed(LETTER).get_boundary()
    forged = f"Hello\r\n--{boundary}--\r\n--{boundary}\r\nContent-Type: text/html\r\n\r\n<p>Evil</p>\r\n"

    message = parsed(LETTER._replace(text=forged))

    assert message.get_boundary() != boundary
    assert texts(message) == {"text/plain": forged, "text/html": with_crlf(LETTER.html)}


def test_the_boundaries_of_all_levels_differ():
    message = parsed(LETTER._replace(attachments=(BILL, LOGO)))
    boundaries = [part.get_boundary() for part in message.walk() if part.is_multipart()]

    assert len(set(boundaries)) == len(boundaries) == 3
    assert len({len(boundary) for boundary in boundaries}) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"message_id": "0190f7a2@mail.example.org"},
        {"message_id": "<a@b>\r\nBcc: eve@evil.example"},
        {"date": datetime(2027, 1, 1)},  # noqa: DTZ001 -- naive is the case
        {"sender": Address("noreply@exämple.org")},
        {"sender": Address("ok@example.org", "Boss\r\nBcc: eve@evil.example")},
        {"to": (Address("ann@example.org\r\nBcc: eve@evil.example"),)},
        {"cc": (Address("ann@example.org, eve@evil.example"),)},
        {"reply_to": (Address("ann"),)},
        {"subject": "a\nb"},
        {"subject": "a\x0bb"},
        {"text": "\ud800"},
        {"html": "\udfff"},
        {"headers": (("Bcc", "eve@evil.example"),)},
        {"headers": (("X-A", "b\r\nBcc: eve@evil.example"),)},
        {"attachments": (replace(BILL, content_type="message/rfc822"),)},
        {"attachments": (replace(BILL, content_type="multipart/mixed"),)},
        {"attachments": (replace(BILL, filename="a\r\nb"),)},
        {"attachments": (replace(LOGO, content_id="a>\r\nb"),)},
    ],
    ids=str,
)
def test_what_cannot_be_sent_safely_is_refused(changes):
    with pytest.raises(UnsendableMessage):
        assemble(LETTER._replace(**changes))


def test_a_refusal_does_not_repeat_what_was_written():
    with pytest.raises(UnsendableMessage) as refusal:
        assemble(LETTER._replace(subject="my secret\nplan"))

    assert str(refusal.value) == "The subject holds U+000A, which no header may hold."


@pytest.mark.parametrize(
    ("message", "wire"),
    [
        (b"", b".\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b".a\r\n..b\r\n", b"..a\r\n...b\r\n.\r\n"),
        (b"a\r\n.\r\nQUIT\r\n", b"a\r\n..\r\nQUIT\r\n.\r\n"),
        (b"\r\n.\r\n.\r\n", b"\r\n..\r\n..\r\n.\r\n"),
        (b"a\r\n.", b"a\r\n..\r\n.\r\n"),
    ],
)
def test_a_dot_at_the_start_of_a_line_is_doubled_and_a_lone_one_ends_the_message(message, wire):
    assert dot_stuff(message) == wire
