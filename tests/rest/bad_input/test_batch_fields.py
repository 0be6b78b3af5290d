"""Messages of a batch with something wrong in them: 422 with the message's place, and nothing is stored."""

import base64

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.rest.bad_input.samples import NOT_ADDRESSES, NOT_ONE_LINE
from tests.rest.conftest import is_problem, pointers

pytestmark = pytest.mark.once

SHARED = {"subject": "Hello", "text": "Good day.\n"}
GOOD = {"to": "ann@example.org"}
FILE = {"filename": "a.txt", "content_type": "text/plain", "content": "eA=="}
NOBODY = "0190a3c8-5c1e-7d2a-9b60-2f4c8e1a7b01"
LARGE = base64.b64encode(bytes(11 * 1024 * 1024)).decode()


def refused(client, nothing_stored, message, **shared):
    with nothing_stored():
        answer = client.post("/v1/batches", json={**SHARED, **shared, "messages": [GOOD, message]})

        assert is_problem(answer, 422), answer.text
    return pointers(answer)


@pytest.mark.parametrize("address", NOT_ADDRESSES[::3], ids=ascii)
@pytest.mark.parametrize("field", ["to", "cc", "bcc", "reply_to"])
def test_what_is_no_address_is_refused_with_its_place(client, nothing_stored, field, address):
    found = refused(client, nothing_stored, {**GOOD, field: ["bob@example.org", {"email": address}]})

    assert found.keys() == {f"/messages/1/{field}/1/email"}


@pytest.mark.parametrize("text", NOT_ONE_LINE, ids=ascii)
def test_what_could_end_a_line_is_refused_in_headers_names_and_subjects(client, nothing_stored, text):
    wrong = f"a{text}b"
    message: dict[str, object] = {"to": {"email": "a@example.org", "name": wrong}, "subject": wrong}
    message["headers"] = {"X-A": wrong}
    message["attachments"] = [{**FILE, "filename": wrong}]

    assert refused(client, nothing_stored, message).keys() == {
        "/messages/1/to/name",
        "/messages/1/subject",
        "/messages/1/headers/X-A",
        "/messages/1/attachments/0/filename",
    }


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("to", [None, 1, True, {}, [[]], {"user_id": "x"}, {"user_id": None}, {"user_id": 1}]),
        (
            "to",
            [
                {"user_id": NOBODY},
                [{"user_id": NOBODY, "name": "x"}],
                [f"a{n}@example.org" for n in range(51)],
            ],
        ),
        ("cc", [None, "x", {"user_id": NOBODY}, {"email": "a@example.org", "user_id": NOBODY}]),
        ("reply_to", [None, 1, {"user_id": NOBODY}]),
        ("headers", [None, [], "x", {"To": "x"}, {"X A": "x"}, {"X-A": 1}, {"X-A": ""}, {"Bcc": "a@example.org"}]),
        (
            "send_at",
            [
                None,
                1,
                "",
                "now",
                "2027-01-01",
                "2027-01-01T09:00:00",
                "9999-12-31T23:59:59-14:00",
                "2999-01-01T00:00:00Z",
            ],
        ),
        ("expires_at", [None, 1, "soon", "2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z"]),
        ("attachments", [None, "x", [1], [{}], {**FILE, "content": "x"}, {**FILE, "content_type": "message/rfc822"}]),
        ("attachments", [{**FILE, "filename": "../a"}, [FILE] * 21, [{**FILE, "content_id": "x"}] * 2]),
        ("tags", [None, "x", [""], ["x" * 65], ["x"] * 11]),
        ("metadata", [None, [], {"x": "\x00"}, {"x": "y" * 9000}]),
        ("locale", [None, 1, "", "en_US"]),
        ("from", ["postroom@example.org"]),
        ("template", ["welcome"]),
        ("text", ["x"]),
        ("status_token", [True]),
        ("To", ["ann@example.org"]),
    ],
    ids=lambda value: ascii(value)[:16],
)
def test_wrong_fields_are_refused_with_their_place(client, nothing_stored, field, values):
    for value in values:
        found = refused(client, nothing_stored, {**GOOD, field: value})
        assert all(place.startswith(f"/messages/1/{field}") for place in found), (value, found)


@pytest.mark.parametrize(
    ("shared", "place"),
    [
        ({"reply_to": "x"}, "/reply_to"),
        ({"headers": {"From": "x"}}, "/headers/From"),
        ({"attachments": {**FILE, "content": "x"}}, "/attachments/content"),
        ({"attachments": [FILE] * 21}, "/attachments"),
        ({"send_at": "now"}, "/send_at"),
        ({"tags": [""]}, "/tags/0"),
        ({"metadata": []}, "/metadata"),
        ({"to": "ann@example.org"}, "/to"),
        ({"cc": "ann@example.org"}, "/cc"),
    ],
    ids=str,
)
@pytest.mark.parametrize("on_error", ["reject_all", "accept_valid"])
def test_what_is_wrong_with_what_all_share_is_told_once(client, nothing_stored, shared, place, on_error):
    assert refused(client, nothing_stored, GOOD, on_error=on_error, **shared).keys() == {place}


def test_times_that_contradict_each_other_are_their_messages_fault(client, nothing_stored):
    found = refused(
        client, nothing_stored, {**GOOD, "send_at": "2026-12-31T00:00:00Z"}, expires_at="2026-12-01T00:00:00Z"
    )

    assert found == {"/messages/1": "out_of_range"}


def test_a_file_that_is_too_large_is_refused_before_it_is_decoded(client, nothing_stored):
    found = refused(client, nothing_stored, {**GOOD, "attachments": {**FILE, "content": LARGE}})

    assert found == {"/messages/1/attachments/content": "too_large"}


def test_files_that_all_share_count_for_each_message(client, nothing_stored):
    file = {**FILE, "content": base64.b64encode(bytes(9 * 1024 * 1024)).decode()}
    with nothing_stored():
        answer = client.post("/v1/batches", json={**SHARED, "attachments": file, "messages": [GOOD] * 10})

        assert is_problem(answer, 422)
    assert pointers(answer) == {"/messages": "too_long"}


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
NAMES = ["to", "cc", "bcc", "reply_to", "data", "locale", "subject", "headers", "send_at", "expires_at", "attachments"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(message=st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=4))
def test_a_message_of_anything_is_refused_in_a_problem_and_takes_the_others_along(client, nothing_stored, message):
    with nothing_stored():
        answer = client.post("/v1/batches", json={**SHARED, "messages": [GOOD, {**message, "nonsense": 1}]})

        assert is_problem(answer, 422)
        assert all(place.startswith("/messages/1") for place in pointers(answer))
