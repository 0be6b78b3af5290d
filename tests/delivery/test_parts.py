from base64 import b64decode
from collections.abc import Callable
from email import message_from_bytes
from email.policy import compat32, default
from quopri import decodestring

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.core.claim import Attachment
from api.delivery import parts
from api.delivery.headers import UnsendableMessage

FRAGMENTS = [
    *(
        "\n",
        "\r\n",
        "\r",
        "\n\n",
        "\n.\n",
        "\r\n.\r\n",
        "\r.\r",
        "\n.\r",
        ".",
        "..",
        "\n..",
        "From ",
        "\nFrom ",
        ">From ",
    ),
    *("=", "=20", "=\n", " ", "\t", " \n", "\t\n", "x" * 74, "x" * 75, "x" * 76, "x" * 998, "ä" * 30, "漢字" * 40),
    *("\x00", "\x0b", "\x0c", "\x1a", "\x7f", "\x85", "\u2028", "\ufeff", "👩‍👩‍👧‍👦", "שלום", "e\u0301"),
]
body_text = st.lists(st.sampled_from(FRAGMENTS) | st.text(st.characters(codec="utf-8"), max_size=20), max_size=20).map(
    "".join
)
DECODE: dict[str, Callable[[bytes], bytes]] = {"7bit": bytes, "quoted-printable": decodestring, "base64": b64decode}


def with_crlf(text):
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")


def decoded(part, body):
    return DECODE[part.encoding](body).decode()


def assert_safe(body):
    assert b"\r" not in body.replace(b"\r\n", b"")
    assert b"\n" not in body.replace(b"\r\n", b"")
    lines = body.split(b"\r\n")
    assert max(map(len, lines)) <= 998
    assert b"." not in lines
    assert not any(line.startswith(b"From ") for line in lines)


@settings(deadline=None, max_examples=400)
@given(body_text)
def test_any_text_decodes_to_what_it_was_with_crlf_line_ends(text):
    part = parts.text("plain", text)

    assert_safe(part.body)
    assert decoded(part, part.body) == with_crlf(text)
    if part.encoding != "7bit":
        assert max(map(len, part.body.split(b"\r\n"))) <= 76


@settings(deadline=None, max_examples=400)
@given(body_text)
def test_a_text_that_is_the_whole_message_ends_in_crlf_and_gains_at_most_that(text):
    part = parts.text("plain", text)

    body = parts.ended(part)

    assert_safe(body)
    assert not body or body.endswith(b"\r\n")
    gained = "\r\n" if part.encoding == "7bit" and text and not with_crlf(text).endswith("\r\n") else ""
    assert decoded(part, body) == with_crlf(text) + gained
    if part.encoding != "7bit":
        assert max(map(len, body.split(b"\r\n"))) <= 76


@settings(deadline=None)
@given(body_text)
def test_an_encoded_text_takes_the_shorter_of_both_encodings(text):
    part = parts.text("plain", text)

    quoted = len(parts.quoted_printable(with_crlf(text).replace("\r\n", "\n").encode()))
    in_base64 = len(parts.base64_lines(with_crlf(text).encode()))

    if part.encoding != "7bit":
        assert len(part.body) == min(quoted, in_base64)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("", "7bit"),
        ("Hello\n", "7bit"),
        ("Hello", "7bit"),
        ("tab\there ~\n", "7bit"),
        ("x" * 990 + "\n", "7bit"),
        ("x" * 991 + "\n", "quoted-printable"),
        ("short\n" + "x" * 991, "quoted-printable"),
        (("x" * 989 + "\n") * 3 + "x" * 991 + "\nshort", "quoted-printable"),
        ("a .class {}\n.class {}\n", "7bit"),
        (".\nand so on\n", "quoted-printable"),
        (".", "quoted-printable"),
        ("a\n.\nb", "quoted-printable"),
        ("a\n.", "quoted-printable"),
        ("From here\n", "quoted-printable"),
        ("a\nFrom here\n", "quoted-printable"),
        ("a From here\n", "7bit"),
        ("form\x0cfeed, form feed\n", "quoted-printable"),
        ("null\x00 and then some text\n", "quoted-printable"),
        ("Grüße aus der Ferne\n", "quoted-printable"),
        ("漢字かな交じり文\n", "base64"),
    ],
)
def test_a_text_is_encoded_only_when_it_must_be(text, encoding):
    assert parts.text("plain", text).encoding == encoding


@pytest.mark.parametrize("space", [" ", "\t"])
@pytest.mark.parametrize("length", range(70, 80))
@pytest.mark.parametrize("end", ["", "\n", "\nnext"])
def test_a_space_at_the_end_of_a_line_makes_it_no_longer_than_76(space, length, end):
    text = "ä\n" + "x" * length + space + end

    encoded = parts.quoted_printable(text.encode())

    assert max(map(len, encoded.split(b"\r\n"))) <= 76
    assert decodestring(encoded).decode() == with_crlf(text)


@pytest.mark.parametrize("length", range(60, 80))
def test_a_last_line_of_any_length_keeps_its_end_in_quoted_printable(length):
    for last in ("x", "ä"):
        part = parts.text("plain", "ä" + "x" * length + last)

        body = parts.ended(part)

        assert part.encoding == "quoted-printable"
        assert max(map(len, body.split(b"\r\n"))) <= 76
        assert decodestring(body).decode() == "ä" + "x" * length + last


@pytest.mark.parametrize("character", ["ä", "漢", "😀"])
@pytest.mark.parametrize("width", [6, 1000])
def test_the_shorter_encoding_is_found_where_both_are_nearly_as_long(character, width):
    for letters in range(800):
        line = character * 20 + "a" * letters
        # Short lines need no soft line breaks: then the estimate of quoted-printable's length is exact.
        text = "\n".join(line[start : start + width] for start in range(0, len(line), width))

        quoted = parts.quoted_printable(text.encode())
        in_base64 = parts.base64_lines(with_crlf(text).encode())

        assert len(parts.text("plain", text).body) == min(len(quoted), len(in_base64))


@pytest.mark.parametrize(
    "text", ["From Köln to Ulm and back\n", "ä day out to Ulm and back\nFrom Köln\n", "From " * 40 + "Köln"]
)
def test_no_line_of_quoted_printable_begins_like_an_mbox_separator(text):
    part = parts.text("plain", text)

    assert part.encoding == "quoted-printable"
    assert_safe(part.body)
    assert decoded(part, part.body) == with_crlf(text)


def test_a_text_with_a_lone_surrogate_is_refused():
    with pytest.raises(UnsendableMessage):
        parts.text("plain", "a\ud800b")


def parsed(part, policy=default):
    return message_from_bytes(part.head + b"\r\n" + part.body, policy=policy)


FILENAMES = {
    "plain": ("report.pdf", 'filename="report.pdf"'),
    "spaces": ("annual report (1).pdf", 'filename="annual report (1).pdf"'),
    "non-ASCII": ("Übersicht.pdf", "filename*=utf-8''%C3%9Cbersicht.pdf"),
    "a quote": ('a"b.pdf', "filename*=utf-8''a%22b.pdf"),
    "a backslash": ("a\\b.pdf", "filename*=utf-8''a%5Cb.pdf"),
    "an encoded word": ("=?utf-8?q?x?=", "filename*=utf-8''%3D%3Futf-8%3Fq%3Fx%3F%3D"),
    "a percent sign": ("100%25.pdf", "filename*=utf-8''100%2525.pdf"),
    "a semicolon": ("a; b=c.pdf", "filename*=utf-8''a%3B%20b%3Dc.pdf"),
    "a space at the start": (" a.pdf", "filename*=utf-8''%20a.pdf"),
    "a space at the end": ("a.pdf ", "filename*=utf-8''a.pdf%20"),
}


@pytest.mark.parametrize(("filename", "wire"), FILENAMES.values(), ids=FILENAMES)
def test_a_file_name_is_written_plainly_or_after_rfc_2231(filename, wire):
    part = parts.file(Attachment(filename, "application/pdf", b"%PDF"), "attachment")

    assert f"Content-Disposition: attachment; {wire}\r\n" in part.head.decode().replace("\r\n ", " ")
    assert parsed(part)["Content-Disposition"].params["filename"] == filename


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=120))
def test_any_file_name_arrives_equal(filename):
    part = parts.file(Attachment(filename, "application/octet-stream", b""), "attachment")

    assert max(map(len, part.head.split(b"\r\n"))) <= 78
    assert parsed(part)["Content-Disposition"].params["filename"] == filename
    assert parsed(part, compat32).get_filename() == filename.strip()
    assert parsed(part).keys() == ["Content-Type", "Content-Transfer-Encoding", "Content-Disposition"]


def test_a_file_without_a_name_has_no_name():
    part = parts.file(Attachment("", "image/png", b""), "inline")

    assert b"Content-Disposition: inline\r\n" in part.head


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_any_file_arrives_equal_in_lines_of_76(content):
    part = parts.file(Attachment("a.bin", "application/octet-stream", content, "logo@example.org"), "inline")

    assert parsed(part).get_payload(decode=True) == content
    assert parsed(part)["Content-ID"] == "<logo@example.org>"
    assert all(len(line) == 76 for line in part.body.split(b"\r\n")[:-1])


@pytest.mark.parametrize(
    "kind",
    [
        *("message/rfc822", "Message/Partial", "multipart/mixed", "MULTIPART/x"),
        *("", "pdf", "application/", "/pdf", "a/b/c", "text/plain;", "text/plain; charset", "a/b\r\nBcc: x", "a/b\n"),
        *("text/plain; x=\r\n y", 'a/b; x="\n"', "ä/b", 'a/b; x="ä"', "a/b\x00", "a/" + "b" * 1000),
    ],
)
def test_a_content_type_that_is_none_or_holds_messages_is_refused(kind):
    with pytest.raises(UnsendableMessage):
        parts.file(Attachment("a", kind, b""), "attachment")


@pytest.mark.parametrize(
    "kind", ["application/pdf", "image/svg+xml", "text/calendar; method=REQUEST", 'text/plain; charset="utf-8"']
)
def test_a_content_type_is_written_as_given(kind):
    assert f"Content-Type: {kind}\r\n".encode() in parts.file(Attachment("a", kind, b""), "attachment").head


@pytest.mark.parametrize("unsafe", ["\r", "\n", "\x00", "\x0b", "\x85", "\u2028", "\u2029", "\ud800", "\r\nX: y"])
def test_a_control_or_separator_in_a_file_name_or_content_id_is_refused(unsafe):
    for attachment in (
        Attachment(f"a{unsafe}.pdf", "application/pdf", b""),
        Attachment(f"ä{unsafe}.pdf", "application/pdf", b""),
        Attachment("a.pdf", "application/pdf", b"", f"logo{unsafe}"),
        Attachment("a.pdf", "application/pdf", b"", unsafe),
    ):
        with pytest.raises(UnsendableMessage):
            parts.file(attachment, "attachment")


@pytest.mark.parametrize("content_id", ["", "a b", "a>", "<a", '"a"', "ä", "a\t", "x" * 990])
def test_what_is_no_content_id_is_refused(content_id):
    with pytest.raises(UnsendableMessage):
        parts.file(Attachment("a.pdf", "application/pdf", b"", content_id), "inline")


@pytest.mark.parametrize("head", [b"a\nb", b"a\rb", b"a\r\n\n", b"a\r", b"\n", b"\r\r\n", b"a\n\rb", b"\n.\r\n"])
def test_a_bare_line_end_in_a_header_is_not_put_on_the_wire(head):
    with pytest.raises(UnsendableMessage, match="bare CR or LF"):
        parts.checked(head)


@pytest.mark.parametrize("lines", [b"a\r", b"\ra\n", b"a\r\n", b"a\r\r\nb"])
def test_a_text_gets_its_cr_only_where_its_line_ends_are_made(lines):
    with pytest.raises(UnsendableMessage, match="bare CR"):
        parts.to_crlf(lines)


@settings(deadline=None, max_examples=200)
@given(body_text)
def test_a_text_and_its_octets_give_the_same_part(text):
    assert parts.text("plain", text.encode()) == parts.text("plain", text)


@pytest.mark.parametrize("place", ["before", "behind", "every second line"])
def test_the_shorter_encoding_is_found_wherever_the_dense_part_of_a_text_stands(place):
    dense, thin = "漢字を書く" * 12, "only plain words here, and one é to keep it from being 7bit"
    for share in range(41):
        lines = [dense] * share + [thin] * (40 - share)
        if place == "behind":
            lines.reverse()
        elif place == "every second line":
            lines = [line for pair in zip(lines, reversed(lines), strict=True) for line in pair]
        part = parts.text("plain", "\n".join(lines))
        data = with_crlf("\n".join(lines)).encode()
        both = {len(parts.base64_lines(data)), len(parts.quoted_printable(data.replace(b"\r", b"")))}
        assert len(part.body) == min(both)
