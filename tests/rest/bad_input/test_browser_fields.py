"""What a browser key's request may not hold: refused with the place and the code, and nothing is stored."""

from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.rest.bad_input.samples import NOT_ADDRESSES, NOT_ONE_LINE
from tests.rest.conftest import USER, Client, is_problem, pointers

pytestmark = pytest.mark.once

LINKS = ["http://evil.example", "HTTPS://evil.example/x", "www.evil.example", "//evil.example", "evil.example/x"]
LINKS += ["\uff48ttps://evil.example", "ht\u200btp://evil.example", "w\u00adww.evil.example"]


@pytest.fixture
def page(app, client):
    """A page with a browser key, which nobody slows down."""
    app.extensions["postroom.browser_rate"] = None
    key = {"name": "page", "origins": ["https://a.example"], "templates": ["welcome"]}
    app.test_client_class = Client
    page = app.test_client()
    page.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {client.post('/v1/keys', json=key).json['key']}"
    page.environ_base["HTTP_ORIGIN"] = "https://a.example"
    return page


def refused(page, nothing_stored, path, body, status=422):
    with nothing_stored():
        answer = page.post(path, json=body)

        assert is_problem(answer, status), answer.text
    return pointers(answer)


@pytest.mark.parametrize("link", LINKS, ids=ascii)
@pytest.mark.parametrize("field", ["username", "name"])
def test_no_name_is_a_link(page, nothing_stored, field, link):
    assert refused(page, nothing_stored, "/v1/users", {**USER, field: link}) == {f"/{field}": "link"}


@pytest.mark.parametrize(
    ("metadata", "found"),
    [
        ({"a": {"b": ["x", LINKS[0]]}}, {"/metadata/a/b/1": "link"}),
        ({LINKS[2]: 1}, {"/metadata/www.evil.example": "link"}),
        ({"a": "x" * 201}, {"/metadata/a": "too_long"}),
        ({"a": "x\ny"}, {"/metadata/a": "control_character"}),
        ({"a": [1] * 60}, {"/metadata": "too_long"}),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_metadata_is_short_and_plain(page, nothing_stored, metadata, found):
    assert refused(page, nothing_stored, "/v1/users", {**USER, "metadata": metadata}) == found


@pytest.mark.parametrize("address", NOT_ADDRESSES[::6], ids=ascii)
def test_an_address_must_be_one_as_for_everybody(page, nothing_stored, address):
    assert refused(page, nothing_stored, "/v1/users", {**USER, "email": address}).keys() == {"/email"}


@pytest.mark.parametrize("text", NOT_ONE_LINE, ids=ascii)
def test_names_are_lines_as_for_everybody(page, nothing_stored, text):
    assert refused(page, nothing_stored, "/v1/users", {**USER, "name": f"a{text}b"}).keys() == {"/name"}


@pytest.mark.parametrize("text", [*LINKS, "x" * 201, "x\ny", "x\u202ey"], ids=ascii)
def test_data_holds_neither_links_nor_lines_nor_much(page, nothing_stored, text):
    name = uuid4().hex  # the app is that of the whole file, and another page's user is none of this one's
    assert page.post("/v1/users", json={"username": name, "email": f"{name}@example.org"}).status_code == 202
    body = {"to": f"{name}@example.org", "template": "welcome", "data": {"user": {"username": "ann", "name": text}}}

    assert refused(page, nothing_stored, "/v1/notifications", body).keys() == {"/data/user/name"}


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["to", "cc", "template", "data", "locale", "subject", "text", "from", "attachments", "headers", "send_at", "x"]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.dictionaries(FIELDS, ANYTHING, max_size=4))
def test_whatever_a_page_sends_to_nobody_is_refused_in_a_problem(page, nothing_stored, body):
    with nothing_stored():
        answer = page.post("/v1/notifications", json=body)

        assert is_problem(answer, answer.status_code)
        assert answer.status_code in (403, 422)
