"""What is assembled, read by a parser that has nothing of the standard library's: that of Rust's `mailparse`."""

from dataclasses import replace

import fast_mail_parser
import pytest
from hypothesis import given, settings

from api.delivery.mime import assemble
from tests.delivery.test_mime import BILL, LETTER, LOGO, letter, with_crlf

CHINESE = LETTER._replace(subject="你的订单已发出", text="你好，安！\n订单已经发出。\n" * 40, html="<p>你好</p>\n" * 90)
EMOJI = LETTER._replace(subject="🎉 Hooray 👩‍👩‍👧‍👦", text="🎉" * 300 + "\n.\n", html="<p>👩‍👩‍👧‍👦</p>")
RIGHT_TO_LEFT = LETTER._replace(subject="שלום עולם", text="مرحبا بالعالم\n.\nشكرا\n", html='<p dir="rtl">שלום</p>\n')
LONG = LETTER._replace(subject="word " * 60 + "end", text="x" * 5000 + "\n", html="<p>" + "y" * 9000 + "</p>")
FILES = LETTER._replace(attachments=(LOGO, BILL, replace(BILL, filename="Rechnung für Zoë.pdf", content=b"\r\n.\r\n")))


def people(found):
    return [((one.display_name or "").strip(), one.address) for one in found]


def written(mailboxes):
    return [((one.name or "").strip(), one.email) for one in mailboxes]  # this reader trims names


def check(content):
    """Read the letter, and compare all that a reader is shown of it."""
    raw = assemble(content)
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    found = fast_mail_parser.parse_email(raw)
    assert not found.warnings
    assert found.subject == content.subject
    assert found.date_parsed == content.date.replace(microsecond=0)
    assert found.headers["Message-ID"] == [content.message_id]
    assert people([found.from_]) == written([content.sender])
    for name, mailboxes in (("to", content.to), ("cc", content.cc), ("reply_to", content.reply_to)):
        assert people(getattr(found, name)) == written(mailboxes)
    files = [(one.filename, one.content_type.partition(";")[0], one.content) for one in content.attachments]
    # What the HTML shows stands beside it, before the others.
    assert sorted((one.filename, one.mimetype, one.content) for one in found.attachments) == sorted(files)
    assert bodies(found.text_plain, found) == bodies(texts(content.text, other=content.html), found)
    assert bodies(found.text_html, found) == bodies(texts(content.html, other=""), found)


def texts(text, *, other):
    return [with_crlf(text)] if text is not None else [""] if other is None else []


def bodies(given, found):
    """The texts; where one is the whole message, this reader keeps the line end that a message must have."""
    if "Content-Transfer-Encoding" not in found.headers:
        return given
    return [one if one.endswith("\r\n") else one + "\r\n" for one in given]


@pytest.mark.parametrize(
    "content",
    [LETTER, CHINESE, EMOJI, RIGHT_TO_LEFT, LONG, FILES],
    ids=["ascii", "chinese", "emoji", "right to left", "long lines", "files"],
)
def test_it_is_read_as_it_was_written(content):
    check(content)


@settings(deadline=None, max_examples=300)
@given(letter)
def test_any_letter_is_read_as_it_was_written(content):
    check(content._replace(attachments=tuple(map(as_a_file, content.attachments))))


def as_a_file(one):
    """A file that is one to this reader, too: it takes a text without a name, or that the HTML shows, for the body."""
    is_text = one.content_type.startswith("text/")
    return replace(one, filename=one.filename or "a", content_id=None if is_text else one.content_id)
