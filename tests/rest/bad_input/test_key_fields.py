"""Keys with something wrong in them: 422 with the place, and nothing is stored."""

import pytest

from tests.rest.conftest import is_problem, pointers

KEY = {"name": "shop", "scopes": ["users:read"]}


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("name", ["", "x" * 101, "a\nb", None, 1, []]),
        ("scopes", [[], None, "users:read", {}, ["users:READ"], ["nothing"], [1], [None], [[]], [{}], ["admin"] * 8]),
        ("mode", ["LIVE", "", None, 1, [], "both"]),
        ("key", ["pr_live_x"]),
    ],
    ids=lambda value: ascii(value)[:16],
)
def test_wrong_keys_are_refused_with_their_place(client, nothing_stored, field, values):
    for value in values:
        with nothing_stored():
            answer = client.post("/v1/keys", json={**KEY, field: value})

            assert is_problem(answer, 422)
            assert all(place.startswith(f"/{field}") for place in pointers(answer))


def test_all_that_is_missing_is_named(client):
    assert pointers(client.post("/v1/keys", json={})) == {"/name": "required", "/scopes": "required"}
