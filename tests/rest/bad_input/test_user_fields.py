"""Users with something wrong in them: 422 with the place and the code, and nothing is stored."""

import pytest

from tests.rest.bad_input.samples import NOT_ADDRESSES, NOT_ONE_LINE
from tests.rest.conftest import USER, is_problem, pointers

pytestmark = pytest.mark.once


def refused(client, nothing_stored, body):
    with nothing_stored():
        answer = client.post("/v1/users", json=body)

        assert is_problem(answer, 422)
    return pointers(answer)


@pytest.mark.parametrize("address", NOT_ADDRESSES, ids=ascii)
def test_what_is_no_address_is_refused(client, nothing_stored, address):
    assert refused(client, nothing_stored, {**USER, "email": address}).keys() == {"/email"}


@pytest.mark.parametrize("text", NOT_ONE_LINE, ids=ascii)
def test_what_could_end_a_line_or_deceive_is_refused_in_names(client, nothing_stored, text):
    found = refused(client, nothing_stored, {**USER, "username": f"a{text}b", "name": f"a{text}b"})

    assert found.keys() == {"/username", "/name"}
    assert set(found.values()) <= {"control_character", "bad_text"}


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("username", ["", " ", " ann", "ann ", "\u00a0ann", "x" * 65, "\ufdfa" * 20, None, 1, True, [], {}]),
        ("email", [None, 1, True, [], {}, ["ann@example.org"], {"email": "ann@example.org"}]),
        ("name", ["", "x" * 201, None, 1, [], {}]),
        ("locale", ["", "e", "en_US", "english language", "x" * 36, None, 1, []]),
        ("metadata", [None, [], "x", 1, {"x": "y" * 9000}, {"x": "\x00"}, {str(number): 1 for number in range(51)}]),
        ("id", ["0190a3c8-5c1e-7d2a-9b60-2f4c8e1a7b01"]),
        ("Username", ["ann"]),
    ],
    ids=lambda value: ascii(value)[:16],
)
def test_wrong_types_and_sizes_are_refused_with_their_place(client, nothing_stored, field, values):
    for value in values:
        found = refused(client, nothing_stored, {**USER, field: value})
        assert all(place.startswith(f"/{field}") for place in found), (value, found)


def test_all_that_is_missing_is_named(client, nothing_stored):
    assert refused(client, nothing_stored, {}) == {"/username": "required", "/email": "required"}


def test_a_path_that_is_no_id_is_404(client):
    for path in ("/v1/users/1", "/v1/users/ann", "/v1/notifications/x", "/v1/inbox/..", "/v1/users/%00"):
        assert is_problem(client.get(path), 404)
    assert is_problem(client.delete("/v1/keys/x"), 404)
