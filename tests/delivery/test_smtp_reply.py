"""Replies as they come off the wire: framed strictly, bounded, and fit to be stored."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.core.claim import Reply
from api.delivery.reply import MAX_LINE, MAX_LINES, MAX_TEXT, Garbled, Replies, readable


def replies(data: bytes) -> list[Reply]:
    """Return the replies that the data holds."""
    waiting, found = Replies(), []
    waiting.feed(data)
    while taken := waiting.take():
        found.append(readable(*taken))
    return found


def test_a_reply_is_split_into_code_enhanced_code_and_text() -> None:
    assert replies(b"250 2.0.0 queued as 17\r\n") == [Reply(250, "2.0.0", "queued as 17")]


def test_a_reply_of_many_lines_is_one_text() -> None:
    data = b"550-5.7.1 this is long\r\n550-5.7.1 and goes on\r\n550 5.7.1 to here\r\n"

    assert replies(data) == [Reply(550, "5.7.1", "this is long and goes on to here")]


@pytest.mark.parametrize("line", [b"250", b"250 ", b"250\r", b"250 \r"])
def test_a_reply_may_have_no_text(line: bytes) -> None:
    assert replies(line + b"\n") == [Reply(250, None, "")]


def test_an_enhanced_code_of_another_class_is_mere_text() -> None:
    assert replies(b"450 5.1.1 odd\r\n") == [Reply(450, None, "5.1.1 odd")]


@pytest.mark.parametrize("text", ["2.0.0.1 host", "2.0 version", "2.1234.0 x", "v2.0.0"])
def test_what_only_resembles_an_enhanced_code_is_text(text: str) -> None:
    assert replies(f"250 {text}\r\n".encode()) == [Reply(250, None, text)]


def test_text_is_made_printable_and_of_one_line() -> None:
    [reply] = replies(b"250 a\x00b\x1b[31m\rc \xff\xfe \xe2\x80\xae d\t\xc3\xbc\r\n")

    assert reply.text == "a�b�[31m�c �� � d ü"
    assert reply.text.isprintable()


def test_text_is_kept_to_its_length() -> None:
    [reply] = replies(b"250 " + b"x" * 5000 + b"\r\n")

    assert reply.text == "x" * MAX_TEXT


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n",
        b"\r\n",
        b"99 x\r\n",
        b"2500 x\r\n",
        b"199 x\r\n",
        b"600 x\r\n",
        b"-50 x\r\n",
        b"2 50\r\n",
        b"250_x\r\n",
        "２５０ x\r\n".encode(),
        b"250-a\r\n550 b\r\n",
        b"250-a\r\nb\r\n",
        b"x",
        b"2x",
        b"250 " + b"x" * MAX_LINE,
        b"250-x\r\n" * (MAX_LINES + 1),
    ],
)
def test_what_is_no_reply_is_refused_at_once(data: bytes) -> None:
    with pytest.raises(Garbled):
        replies(data)


def test_a_reply_of_long_lines_is_refused_by_its_size() -> None:
    with pytest.raises(Garbled):
        replies(b"".join([b"250-" + b"x" * 8000 + b"\r\n"] * 9))


@pytest.mark.parametrize("data", [b"", b"2", b"25", b"250", b"250 almost\r", b"250-first\r\n", b"250-first\r\n250 las"])
def test_a_part_of_a_reply_is_waited_for(data: bytes) -> None:
    assert replies(data) == []


@given(
    code=st.integers(200, 599),
    lines=st.lists(st.binary(max_size=60).filter(lambda line: b"\n" not in line), min_size=1, max_size=5),
    cuts=st.lists(st.integers(0, 400), max_size=8),
)
def test_a_reply_reads_the_same_however_it_is_cut(code: int, lines: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(f"{code}-".encode() + line + b"\r\n" for line in lines[:-1]) + f"{code} ".encode() + lines[-1]
    data = whole + b"\r\n250 next\r\n"
    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    waiting, found = Replies(), []
    for start, end in pairwise(edges):
        waiting.feed(data[start:end])
        while taken := waiting.take():
            found.append(readable(*taken))

    assert [reply.code for reply in found] == [code, 250]
    assert found == replies(data)
    assert found[0].text.isprintable()
    assert not waiting


@given(st.binary(max_size=300))
def test_any_bytes_are_a_reply_a_part_of_one_or_refused(data: bytes) -> None:
    waiting, refused = Replies(), ""
    waiting.feed(data)
    try:
        while taken := waiting.take():
            assert 200 <= taken[0] <= 599
    except Garbled as error:
        refused = str(error)
    assert refused.isprintable()


def test_a_421_that_waits_is_seen_before_it_is_whole() -> None:
    waiting = Replies()
    waiting.feed(b"421 4.3.2 clos")

    assert waiting.closing()
    assert waiting.take() is None
