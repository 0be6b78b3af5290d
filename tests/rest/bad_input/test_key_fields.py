"""Keys with something wrong in them: 422 with the place, and nothing is stored."""

import pytest

from tests.rest.conftest import is_problem, pointers

pytestmark = pytest.mark.once

KEY = {"name": "shop", "scopes": ["users:read"]}
PAGE = {"name": "page", "origins": ["https://app.example.org"], "templates": ["welcome"]}
NOT_ORIGINS = [
    *["", " ", "*", "null", "app.example.org", "//app.example.org", "https://", "https://*", "https://*.example.org"],
    *[
        "https://app.example.org/",
        "https://app.example.org/x",
        "https://app.example.org?x",
        "https://app.example.org#x",
    ],
    *["HTTPS://app.example.org", "https://APP.example.org", "https://user@app.example.org", "https://a:b@c.example"],
    *["https://app.example.org:443", "http://app.example.org:80", "http://a1:80", "https://a.example:0"],
    *["https://a.example:65536", "https://a.example:099", "https://a.example:", "https://a.example:x"],
    *["ftp://a.example", "file://", "chrome-extension://abc", "data:", "https:/a.example", "https:a.example"],
    *["https://a..example", "https://.example", "https://a.example.", "https://-a.example", "https://a-.example"],
    *[
        "https://\u00e4.example",
        "https://a.ex\u0430mple",
        "https://a example",
        "https://a.example\n",
        " https://a.example",
    ],
    *["https://a.example https://b.example", "https://a.example,https://b.example", "https://a\x00.example", "\ud800"],
    *["https://[::1", "https://::1", "https://[::g]", "https://[0:0:0:0:0:0:0:1]", "https://[::1]:80:80"],
    "https://" + "a." * 200 + "example",
    "https://" + "a" * 64 + ".example",
]
ORIGINS = [
    *["https://app.example.org", "http://localhost", "http://localhost:3000", "http://127.0.0.1:8080", "http://a:443"],
    *[
        "https://a.example:80",
        "https://a.example:8443",
        "https://a.example:65535",
        "http://[::1]:3000",
        "https://[2001:db8::1]",
    ],
    *["https://xn--4ca.example", "https://a_b.example"],
]


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


@pytest.mark.parametrize("origin", NOT_ORIGINS, ids=ascii)
def test_what_no_browser_would_send_is_no_origin(client, nothing_stored, origin):
    with nothing_stored():
        answer = client.post("/v1/keys", json={**PAGE, "origins": ["https://fine.example", origin]})

        assert is_problem(answer, 422)
    assert pointers(answer).keys() == {"/origins/1"}


@pytest.mark.parametrize("origin", ORIGINS)
def test_what_browsers_send_is_one(client, origin):
    assert client.post("/v1/keys", json={**PAGE, "origins": [origin]}).status_code == 201


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("origins", [[], None, "https://a.example", {}, [None], [1], [[]], ["https://a.example"] * 21]),
        (
            "templates",
            [None, "welcome", {}, [1], [None], [""], ["a\nb"], ["x" * 65], ["nothing"], ["../x"], ["welcome"] * 51],
        ),
        ("scopes", [["users:write"], [], None]),
        ("browser", [True]),
        ("Origins", [["https://a.example"]]),
    ],
    ids=lambda value: ascii(value)[:16],
)
def test_wrong_browser_keys_are_refused_with_their_place(client, nothing_stored, field, values):
    for value in values:
        with nothing_stored():
            answer = client.post("/v1/keys", json={**PAGE, field: value})

            assert is_problem(answer, 422)
            assert any(place.startswith(f"/{field}") for place in pointers(answer)), value


def test_a_key_is_of_one_kind(client, nothing_stored):
    with nothing_stored():
        both = client.post("/v1/keys", json={**KEY, **PAGE})
        half = client.post("/v1/keys", json={"name": "x", "templates": ["welcome"]})

    assert pointers(both) == {"/scopes": "excluded"}
    assert pointers(half) == {"/origins": "required"}
