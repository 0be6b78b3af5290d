"""Messages with something wrong in them: 422 with the place and the code, and nothing is stored."""

import pytest

from tests.rest.bad_input.samples import NOT_ADDRESSES, NOT_ONE_LINE
from tests.rest.conftest import MESSAGE, is_problem, pointers

pytestmark = pytest.mark.once

LONG = "x" * 513 * 1024


def refused(client, nothing_stored, **message):
    with nothing_stored():
        answer = client.post("/v1/notifications", json={**MESSAGE, **message})

        assert is_problem(answer, 422)
    return pointers(answer)


@pytest.mark.parametrize("address", NOT_ADDRESSES, ids=ascii)
def test_what_is_no_address_is_refused_wherever_it_stands(client, nothing_stored, address):
    for field in ("to", "cc", "bcc", "reply_to"):
        for value, place in [
            (address, ""),
            ([address], "/0"),
            ({"email": address}, "/email"),
            (["bob@example.org", {"email": address}], "/1/email"),
        ]:
            assert refused(client, nothing_stored, **{field: value}).keys() == {f"/{field}{place}"}
    assert refused(client, nothing_stored, **{"from": address}).keys() == {"/from"}
    assert refused(client, nothing_stored, **{"from": {"email": address}}).keys() == {"/from/email"}


@pytest.mark.parametrize("text", NOT_ONE_LINE, ids=ascii)
def test_what_could_end_a_line_or_deceive_is_refused_in_header_bound_fields(client, nothing_stored, text):
    inside = f"a{text}b"
    named = {"email": "ann@example.org", "name": inside}
    expected = {"/subject", "/to/0/name", "/cc/name", "/reply_to/0/name", "/from/name", "/tags/1"}

    found = refused(
        client,
        nothing_stored,
        subject=inside,
        to=[named],
        cc=named,
        reply_to=[named],
        **{"from": named},
        tags=["fine", inside],
    )

    assert found.keys() == expected
    assert set(found.values()) <= {"control_character", "bad_text"}


@pytest.mark.parametrize("text", ["\x00", "\ud800", "\udc00x", "a\udfff"], ids=ascii)
def test_what_no_store_can_hold_is_refused_in_every_text(client, nothing_stored, text):
    value = {"deep": [{"er": text}], text: 1}
    key = text.encode("utf-8", "replace").decode()

    found = refused(client, nothing_stored, text=text, html=text, metadata=value)

    assert found == {
        "/text": "bad_text",
        "/html": "bad_text",
        "/metadata/deep/0/er": "bad_text",
        f"/metadata/{key}": "bad_text",
    }


@pytest.mark.parametrize(
    ("field", "values", "code"),
    [
        ("to", [1, True, None, 1.5, {"mail": "x"}, [[]], [1], [None], [["ann@example.org"]], {}], None),
        ("from", [1, None, [], {}, ["ann@example.org"]], None),
        ("subject", [1, None, [], {}, True], None),
        ("text", [1, None, [], {}], None),
        ("html", [1, None, ["<p>"], {}], None),
        ("tags", ["orders", None, {}, [1], [None], 1], None),
        ("metadata", ["x", None, [], 1], None),
        ("locale", [1, None, []], None),
        ("subject", ["", " ", "\t"], None),
        ("text", [""], "too_short"),
        ("html", [""], "too_short"),
        ("tags", [[""]], "too_short"),
        ("subject", ["x" * 999], "too_long"),
        ("text", [LONG], "too_long"),
        ("html", [LONG], "too_long"),
        ("tags", [["x" * 65], [str(number) for number in range(11)]], "too_long"),
        ("to", [["ann@example.org"] * 501], "too_long"),
        ("to", [{"email": "ann@example.org", "name": "x" * 201}], "too_long"),
        ("metadata", [{"x": "y" * 9000}, {str(number): 1 for number in range(51)}], "too_long"),
        ("locale", ["e", "en_US", "en-", "-en", "../en", "e" * 9, "en-" + "a" * 9, "en-" * 12 + "en", "ｅｎ"], None),
    ],
    ids=lambda value: ascii(value)[:24],
)
def test_wrong_types_and_sizes_are_refused_with_their_place(client, nothing_stored, field, values, code):
    for value in values:
        found = refused(client, nothing_stored, **{field: value})
        assert all(place.startswith(f"/{field}") for place in found), (value, found)
        assert code is None or set(found.values()) == {code}


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ({}, {"/template": "required"}),
        ({"text": "a"}, {"/subject": "required"}),
        ({"html": "a"}, {"/subject": "required"}),
        ({"subject": "a"}, {"/template": "required"}),
        ({"subject": "a", "text": "b", "data": {}}, {"/data": "excluded"}),
        ({"template": "welcome", "text": "a"}, {"/text": "excluded"}),
        ({"template": "welcome", "html": "a", "text": "b"}, {"/html": "excluded", "/text": "excluded"}),
        ({"template": "nothing"}, {"/template": "unknown_template"}),
        ({"template": "../mail/welcome"}, {"/template": "unknown_template"}),
        ({"template": "welcome.html"}, {"/template": "unknown_template"}),
        ({"template": "_layout"}, {"/template": "unknown_template"}),
        ({"template": "Welcome"}, {"/template": "unknown_template"}),
        ({"template": "x" * 65}, {"/template": "too_long"}),
        ({"template": ""}, {"/template": "too_short"}),
        ({"template": "a\x00"}, {"/template": "bad_text"}),
        ({"template": 1}, {"/template": "invalid_type"}),
        ({"template": "welcome", "data": []}, {"/data": "invalid_type"}),
        ({"template": "welcome", "data": None}, {"/data": "null"}),
        ({"template": "welcome", "data": {"user": {"name": "\x00"}}}, {"/data/user/name": "bad_text"}),
        ({"template": "welcome", "data": {"x": "y" * 257 * 1024}}, {"/data": "too_long"}),
        (
            {"template": "welcome"},
            {"/data/user/name": "missing_variable", "/data/user/username": "missing_variable"}
            | {"/data/user/email": "missing_variable"},
        ),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_message_has_one_content_that_can_be_rendered(client, nothing_stored, message, found):
    with nothing_stored():
        answer = client.post("/v1/notifications", json={"to": "ann@example.org", **message})

        assert is_problem(answer, 422)
        assert pointers(answer) == found


@pytest.mark.parametrize("field", ["attachment", "header", "sendAt", "To", "sender", ""])
def test_an_unknown_field_is_refused(client, nothing_stored, field):
    assert refused(client, nothing_stored, **{field: "x"}) == {f"/{field}": "unknown_field"}


def test_an_unknown_field_of_an_address_is_refused(client, nothing_stored):
    found = refused(client, nothing_stored, to=[{"email": "ann@example.org", "mail": "x"}])

    assert found == {"/to/0/mail": "unknown_field"}


def test_every_wrong_field_is_named_at_once(client, nothing_stored):
    found = refused(client, nothing_stored, to=["x", "ann@example.org", {}], subject=1, tags=[1], nonsense=1)

    assert found == {
        "/to/0": "invalid_address",
        "/to/2/email": "required",
        "/subject": "invalid_type",
        "/tags/0": "invalid_type",
        "/nonsense": "unknown_field",
    }


def test_names_are_escaped_in_pointers_and_never_longer_than_can_be_read(client, nothing_stored):
    found = refused(client, nothing_stored, **{"a/b~c": 1, "x" * 1000: 1, "\ud800": 1})

    assert {"/a~1b~0c", "/?"} < found.keys()
    assert max(map(len, found)) <= 300


def test_a_flood_of_wrong_fields_gets_a_bounded_answer(client, nothing_stored):
    with nothing_stored():
        answer = client.post("/v1/notifications", json={**MESSAGE, **{f"x{number}": 1 for number in range(5000)}})

    assert is_problem(answer, 422)
    assert len(answer.json["errors"]) == 1000
    assert "5000" in answer.json["detail"]


@pytest.mark.parametrize("lists", [{}, {"to": []}, {"to": [], "cc": [], "bcc": []}])
def test_a_message_to_nobody_is_refused(client, nothing_stored, lists):
    with nothing_stored():
        answer = client.post("/v1/notifications", json={"subject": "a", "text": "b", **lists})

        assert pointers(answer) == {"/to": "required"}


def test_more_than_fifty_recipients_are_refused(client, nothing_stored):
    many = [f"a{number}@example.org" for number in range(26)]
    others = [f"b{number}@example.org" for number in range(25)]

    assert refused(client, nothing_stored, to=many, bcc=others) == {"/to": "too_many"}


def test_a_subject_that_is_too_long_with_its_template_is_refused(client, nothing_stored):
    data = {"user": {"username": "x" * 1000, "name": None, "email": "a@example.org"}}
    with nothing_stored():
        answer = client.post("/v1/notifications", json={"to": "ann@example.org", "template": "welcome", "data": data})

        assert is_problem(answer, 422)
