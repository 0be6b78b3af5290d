"""The parser of bodies: what it reads it reads as everybody does, and it survives all else."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.rest.strict_json import MAX_DEPTH, NotJson, parse

SCALARS = st.none() | st.booleans() | st.integers(-(10**19) + 1, 10**19 - 1) | st.text() | st.floats(allow_nan=False)
VALUES = st.recursive(
    SCALARS.filter(lambda value: value not in (float("inf"), float("-inf"))),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
PIECES = st.sampled_from(
    [
        *["{", "}", "[", "]", ",", ":", '"', '"a"', "\\", "\\u0000", "\\ud800", "1", "-", "1e999", "NaN", "Infinity"],
        *["null", "true", " ", "\n", "\x00", "\ufeff", "//", "/* */", "9" * 20, "é", "'a'", "0", ".", "e"],
    ]
)


@given(VALUES)
def test_whatever_json_can_hold_is_read_as_it_was_written(value):
    assert parse(json.dumps(value).encode()) == value


@given(st.binary())
def test_any_bytes_are_either_read_or_refused(body):
    with contextlib.suppress(NotJson):
        parse(body)


@given(st.lists(PIECES).map("".join))
def test_anything_that_looks_like_json_is_read_only_where_the_strictest_would(text):
    try:
        value = parse(text.encode())
    except NotJson:
        return
    assert json.loads(text) == value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n",
        b"{",
        b"{}x",
        b"{} {}",
        b"\xef\xbb\xbf{}",
        '{"a": 1}'.encode("utf-16"),
        '{"a": 1}'.encode("utf-16-le"),
        '{"a": 1}'.encode("utf-32-be"),
        b'{"a": "\xff"}',
        b'{"a": "\xc0\x80"}',
        b'{"a": "\xed\xa0\x80"}',
        b'{"a": "\n"}',
        b'{"a": "\x00"}',
        b"{} // why",
        b"/* why */ {}",
        b"{'a': 1}",
        b"{a: 1}",
        b'{"a": 1,}',
        b"[1, 2,]",
        b'{"a": 1, "a": 1}',
        b'[{"b": {"a": 1, "\\u0061": 2}}]',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": -1e999}',
        b'{"a": ' + b"1" * 20 + b"}",
        b'{"a": -' + b"1" * 20 + b"}",
        b'{"a": ' + b"1" * 100_000 + b"}",
        b'{"a": 01}',
        b'{"a": +1}',
        b'{"a": .5}',
        b'{"a": 0x1}',
        b'{"a": undefined}',
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
        b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1),
        b"[" * 1_000_000,
        b'{"a":' * 200_000,
        b"[" * 500_000 + b"]" * 500_000,
    ],
    ids=lambda body: repr(body[:24]),
)
def test_what_parsers_disagree_about_is_refused(body):
    with pytest.raises(NotJson):
        parse(body)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, None),
        (b"9" * 19, 10**19 - 1),
        (b"-" + b"9" * 19, -(10**19) + 1),
        (b'{"a": "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["}', {"a": "[" * 34}),
        (b"[[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[]]", None),
        (b'"\\ud83d\\ude00"', "😀"),
        (b"1e308", 1e308),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_what_is_just_within_the_limits_is_read(body, value):
    assert parse(body) == (json.loads(body) if value is None else value)
