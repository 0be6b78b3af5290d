import re
from datetime import datetime, timedelta, timezone
from email import message_from_bytes
from email.header import decode_header, make_header
from email.policy import compat32, default
from email.utils import getaddresses, parsedate_to_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.core.claim import Address
from api.delivery import headers
from api.delivery.headers import UnsendableMessage

UNSAFE = [
    *map(chr, range(0x20)),
    *map(chr, range(0x7F, 0xA0)),
    "\u2028",
    "\u2029",
    "\ud800",
    "\udfff",
    "\r\nBcc: eve@evil.example",
]
FRAGMENTS = [
    "=?utf-8?q?x?=",
    "=?",
    "?=",
    "=",
    "_",
    '"',
    "\\",
    "@",
    ",",
    "<eve@evil.example>",
    " ",
    "   ",
    "(c)",
    ";:",
    "x" * 70,
    "word " * 20,
    "漢字かな交じり文",
    "👩‍👩‍👧‍👦🏳️‍🌈",
    "שלום עולם",
    "مرحبا",
    "e\u0301\u0323\u0307",
    "\u202eevil\u202c",
    "\ufeff",
    "Ünïcödé",
]
safe_characters = st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])
ENCODED_WORD = re.compile(r"=\?utf-8\?[bq]\?[^? ]*\?=")
header_text = st.lists(st.text(safe_characters, max_size=12) | st.sampled_from(FRAGMENTS), max_size=8).map("".join)


def unfolded(field):
    """The value as RFC 5322 2.2.3 unfolds it."""
    _, _, value = field.replace("\r\n", "").partition(":")
    return value.removeprefix(" ")


def parsed(field):
    return message_from_bytes(field.encode("ascii") + b"\r\n", policy=default)


def mailboxes(field):
    """The mailboxes by the old parser: the new one keeps the space between two encoded words of a name."""
    [value] = message_from_bytes(field.encode("ascii") + b"\r\n", policy=compat32).values()
    pairs = getaddresses([value.replace("\r\n", "")])
    return [(str(make_header(decode_header(name))), email) for name, email in pairs]


def assert_well_formed(field):
    lines = field.split("\r\n")
    assert lines.pop() == ""
    assert field.isascii()
    assert all(line.isprintable() and line.strip() and len(line) <= 998 for line in lines)
    assert all(line.startswith(" ") for line in lines[1:])


def assert_words_fit(field):
    """RFC 2047 2: 75 octets for an encoded word, 76 for a line that holds one."""
    for line in field.split("\r\n"):
        words = ENCODED_WORD.findall(line)
        assert all(len(word) <= 75 for word in words)
        assert not words or len(line) <= 76


SUBJECTS = {
    "plain": ("Your order", "Your order"),
    "empty": ("", ""),
    "spaces inside stay": ("a  b   c", "a  b   c"),
    "spaces at the start are encoded": (" a", "=?utf-8?q?_a?="),
    "spaces at the end are encoded": ("a ", "=?utf-8?q?a_?="),
    "a colon and quotes are nothing special": ('Re: "x", <y>', 'Re: "x", <y>'),
    "what reads like an encoded word is encoded": ("=?utf-8?q?x?=", "=?utf-8?b?PT91dGYtOD9xP3g/PQ==?="),
    "few non-ASCII characters make Q": ("Viele Grüsse aus Ulm", "=?utf-8?q?Viele_Gr=C3=BCsse_aus_Ulm?="),
    "many make B": ("漢字", "=?utf-8?b?5ryi5a2X?="),
    "underscores and question marks are escaped": ("ä_?=", "=?utf-8?b?w6RfPz0=?="),
}


@pytest.mark.parametrize(("subject", "wire"), SUBJECTS.values(), ids=SUBJECTS)
def test_a_subject_is_written_in_the_plainest_form_that_arrives_equal(subject, wire):
    field = headers.subject(subject)

    assert unfolded(field) == wire
    assert parsed(field)["Subject"] == subject


NAMES = {
    "none": (None, "ann@example.org"),
    "empty": ("", "ann@example.org"),
    "plain words": ("Ann Lee", "Ann Lee <ann@example.org>"),
    "a comma": ("Doe, John", '"Doe, John" <ann@example.org>'),
    "a full stop": ("John Q. Public", '"John Q. Public" <ann@example.org>'),
    "an address": ("boss@bank.com", '"boss@bank.com" <ann@example.org>'),
    "an address in brackets": ("<boss@bank.com>", '"<boss@bank.com>" <ann@example.org>'),
    "an address list": ("a@b.example, c", '"a@b.example, c" <ann@example.org>'),
    "quotes and backslashes": ('"Ann" \\ Lee', '"\\"Ann\\" \\\\ Lee" <ann@example.org>'),
    "a lone quote": ('"', '"\\"" <ann@example.org>'),
    "a comment": ("Ann (Sales)", '"Ann (Sales)" <ann@example.org>'),
    "a group": ("Staff: Ann;", '"Staff: Ann;" <ann@example.org>'),
    "spaces around": (" Ann ", '" Ann " <ann@example.org>'),
    "two spaces": ("Ann  Lee", '"Ann  Lee" <ann@example.org>'),
    "an encoded word": ("=?utf-8?q?x?=", "=?utf-8?b?PT91dGYtOD9xP3g/PQ==?= <ann@example.org>"),
    "an encoded word amid text": ("Ann Lee =?x", "=?utf-8?q?Ann_Lee_=3D=3Fx?= <ann@example.org>"),
    "non-ASCII": ("Jürgen", "=?utf-8?q?J=C3=BCrgen?= <ann@example.org>"),
    "non-ASCII with specials": ("Döe, John Quincy", "=?utf-8?q?D=C3=B6e=2C_John_Quincy?= <ann@example.org>"),
    "non-ASCII with an address": ("ä <b@c.example>", "=?utf-8?b?w6QgPGJAYy5leGFtcGxlPg==?= <ann@example.org>"),
    "Chinese": ("李小龙", "=?utf-8?b?5p2O5bCP6b6Z?= <ann@example.org>"),
}


@pytest.mark.parametrize(("name", "wire"), NAMES.values(), ids=NAMES)
def test_a_display_name_stays_a_name_and_never_touches_the_address(name, wire):
    field = headers.addresses("From", [Address("ann@example.org", name)])

    assert unfolded(field) == wire
    assert mailboxes(field) == [(name or "", "ann@example.org")]
    [address] = parsed(field)["From"].addresses
    assert (address.display_name, address.addr_spec) == (name or "", "ann@example.org")


@settings(deadline=None)
@given(header_text)
def test_any_subject_arrives_equal(subject):
    field = headers.subject(subject)

    assert_well_formed(field)
    assert_words_fit(field)
    message = parsed(field)
    assert message.keys() == ["Subject"]
    assert message["Subject"] == subject


@settings(deadline=None)
@given(st.lists(st.tuples(header_text, st.integers(0, 999)), min_size=1, max_size=6))
def test_any_names_arrive_equal_each_with_its_own_address(pairs):
    expected = [(name, f"user{number}@example.org") for name, number in pairs]
    field = headers.addresses("Reply-To", [Address(email, name) for name, email in expected])

    assert_well_formed(field)
    assert_words_fit(field)
    assert mailboxes(field) == expected
    assert [address.addr_spec for address in parsed(field)["Reply-To"].addresses] == [email for _, email in expected]


@settings(deadline=None)
@given(st.text("ab\u00e4漢😀 ", min_size=60, max_size=300))
def test_each_encoded_word_is_whole_by_itself(value):
    words = headers.encoded_words(value, 67)

    assert len(words[0]) <= 67 + 1
    assert all(len(word) <= 75 + 1 for word in words)
    assert "".join(str(make_header(decode_header(word.strip()))) for word in words) == value


@settings(deadline=None)
@given(st.text("abcdefg=?_ \u00e4漢😀", min_size=1, max_size=40))
def test_the_shorter_of_b_and_q_is_chosen(value):
    kinds = {word[9] for word in headers.encoded_words(value, 75)}
    quoted = sum(len(headers._Q[octet]) for octet in value.encode())

    assert kinds == {"b" if (len(value.encode()) + 2) // 3 * 4 < quoted else "q"}


@pytest.mark.parametrize("length", [60, 70, 80, 500, 985, 990, 1000, 5000])
def test_a_long_subject_without_a_space_arrives_equal(length):
    subject = "x" * length

    field = headers.subject(subject)

    assert_well_formed(field)
    assert parsed(field)["Subject"] == subject


def test_a_long_ascii_subject_is_folded_at_its_spaces_and_not_encoded():
    subject = "Your order number 12345 has left our house " * 6 + "today"

    field = headers.subject(subject)

    assert unfolded(field) == subject
    assert max(map(len, field.split("\r\n"))) <= 78


def test_a_long_run_of_spaces_makes_no_line_of_spaces_alone():
    subject = "a" + " " * 300 + "b" + " " * 2000 + "c"

    assert_well_formed(headers.subject(subject))
    assert parsed(headers.subject(subject))["Subject"] == subject


def test_fifty_recipients_are_folded_between_addresses():
    people = [Address(f"recipient-{number}@example.org", f"Recipient {number}") for number in range(50)]

    field = headers.addresses("To", people)

    assert max(map(len, field.split("\r\n"))) <= 78
    assert mailboxes(field) == [(person.name, person.email) for person in people]


def test_one_recipient_named_many_times_is_folded_like_any_other():
    people = [Address("ann@example.org", "Jürgen")] * 20

    assert max(map(len, headers.addresses("To", people).split("\r\n"))) <= 76


@pytest.mark.parametrize("length", [76, 200, 900])
def test_a_long_url_in_a_custom_header_stays_whole(length):
    url = "https://example.org/unsubscribe?token="
    value = f"<{url + 'x' * (length - len(url))}>"

    field = headers.custom("List-Unsubscribe", value)

    assert field == f"List-Unsubscribe: {value}\r\n"


def test_a_second_url_in_a_custom_header_is_folded_before():
    value = f"<https://example.org/{'x' * 80}>, <mailto:leave@example.org>"

    field = headers.custom("List-Unsubscribe", value)

    assert field.count("\r\n") == 2
    assert unfolded(field) == value


def test_a_word_too_long_for_a_line_is_refused_in_a_custom_header():
    with pytest.raises(UnsendableMessage):
        headers.custom("X-Token", "x" * 995)


@settings(deadline=None)
@given(header_text)
def test_any_custom_value_arrives_equal_but_for_spaces_around(value):
    field = headers.custom("X-Note", value)

    assert_well_formed(field)
    if value.isascii():
        assert unfolded(field) == value.strip(" ")
    else:
        assert_words_fit(field)
        assert parsed(field)["X-Note"] == value.strip(" ")


@pytest.mark.parametrize(
    "name",
    [
        *("From", "TO", "cc", "Bcc", "Date", "message-id", "Subject", "Reply-To", "Sender", "MIME-Version"),
        *("Content-Type", "content-transfer-encoding", "Content-X", "Received", "Return-Path", "DKIM-Signature"),
        *("Resent-From", "resent-bcc", "ARC-Seal", "Authentication-Results", "Delivered-To"),
        *("", " ", "X Y", "X:", "X-Ä", "X\r\nBcc", "X\n", "\tX", "X\x00", "X\x7f", "\ud800"),
    ],
)
def test_a_header_name_that_is_ours_or_no_name_is_refused(name):
    with pytest.raises(UnsendableMessage):
        headers.custom(name, "value")


@pytest.mark.parametrize("name", ["X-Order", "List-Unsubscribe", "In-Reply-To", "References", "Auto-Submitted", "!#$%"])
def test_other_header_names_are_written_as_given(name):
    assert headers.custom(name, "value") == f"{name}: value\r\n"


@pytest.mark.parametrize("unsafe", UNSAFE, ids=ascii)
@pytest.mark.parametrize("place", ["{}", "a{}", "{}b", "ä{}b", "a{} b" + "c" * 80])
def test_a_control_or_separator_is_refused_in_every_header(place, unsafe):
    value = place.format(unsafe)
    for write in (
        lambda: headers.subject(value),
        lambda: headers.custom("X-A", value),
        lambda: headers.addresses("From", [Address("ann@example.org", value)]),
        lambda: headers.addresses("From", [Address(value + "@example.org")]),
        lambda: headers.identifier("Message-ID", f"<{value}@example.org>"),
    ):
        with pytest.raises(UnsendableMessage):
            write()


@pytest.mark.parametrize(
    "email",
    [
        *("", "ann", "@example.org", "ann@", "a@b@example.org", "ann@example..org", ".ann@example.org"),
        *("ann@example.org, eve@evil.example", "Ann <ann@example.org>", '"ann"@example.org', "ann@[127.0.0.1]"),
        *("änn@example.org", "ann@exämple.org", "ann @example.org", "ann@example.org ", "ann@example.org\n"),
        "ann@" + "x" * 251,
    ],
)
def test_what_is_no_plain_address_is_refused(email):
    with pytest.raises(UnsendableMessage):
        headers.addresses("To", [Address(email)])


@pytest.mark.parametrize("value", ["", "a@b", "<>", "<a b>", "<a@b", "<a>@b>", "<a@b>\n", "<ä@b>", "<a@b> <c@d>"])
def test_what_is_no_identifier_is_refused(value):
    with pytest.raises(UnsendableMessage):
        headers.identifier("Message-ID", value)


@settings(deadline=None)
@given(
    st.datetimes(
        min_value=datetime(1900, 1, 2),  # noqa: DTZ001 -- the zone is drawn
        timezones=st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
        max_value=datetime(9999, 12, 30),  # noqa: DTZ001 -- the zone is drawn
    )
)
def test_a_date_is_written_in_utc_to_the_second(moment):
    field = headers.date(moment)

    assert field.endswith(" +0000\r\n")
    assert parsedate_to_datetime(unfolded(field)) == moment.replace(microsecond=0)


def test_a_date_has_the_form_of_rfc_5322():
    moment = datetime(2027, 1, 1, 1, 2, 3, 999_999, tzinfo=timezone(timedelta(hours=2)))

    assert headers.date(moment) == "Date: Thu, 31 Dec 2026 23:02:03 +0000\r\n"


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2027, 1, 1),  # noqa: DTZ001 -- naive is the case
        datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-14))),
    ],
)
def test_a_date_that_is_no_moment_of_utc_is_refused(moment):
    with pytest.raises(UnsendableMessage):
        headers.date(moment)
