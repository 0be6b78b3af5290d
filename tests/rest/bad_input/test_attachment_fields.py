"""Files and headers with something wrong in them: 422 with the place and the code, and nothing is stored."""

import pytest

from api.delivery import headers as wire
from tests.rest.conftest import MESSAGE, is_problem, pointers

pytestmark = pytest.mark.once

FILE = {"filename": "a.txt", "content_type": "text/plain", "content": "YWJj"}
NOT_ONE_LINE = ["\n", "\r\nX: y", "\x0b", "\x00", "\x1c", "\x7f", "\x85", "\u2028", "\u202e", "\u2066", "\ud800"]


@pytest.fixture
def refused(client, nothing_stored):
    """Send a message with this in it; return the codes of what is wrong with it by their places."""

    def refused(**fields):
        with nothing_stored():
            answer = client.post("/v1/notifications", json={**MESSAGE, **fields})
        assert is_problem(answer, 422), answer.text
        return pointers(answer)

    return refused


@pytest.mark.parametrize(
    "content",
    [
        "YWJ",
        "YW",
        "Y",
        "YWJj=",
        "YQ=",
        "YQ===",
        "Y===",
        "====",
        "=",
        "YQ==YQ==",
        "YR==",  # spare bits
        "YWK=",
        "YWJj\n",
        "YW Jj",
        " YWJj",
        "YWJj\r\nYWJj",
        "YW-_",
        "YW%2",
        "YWJ\u00e9",
        "\uff39WJj",
        "data:text/plain;base64,YWJj",
        "not base64!!",
        "YWJ\x00",
    ],
    ids=ascii,
)
def test_what_is_not_strictly_base64_is_refused(refused, content):
    assert list(refused(attachments=[FILE, {**FILE, "content": content}])) == ["/attachments/1/content"]


@pytest.mark.parametrize(
    ("content", "size"), [("", 0), ("YQ==", 1), ("YWI=", 2), ("YWJj", 3), ("+/+/", 3), ("//8=", 2), ("/w==", 1)]
)
def test_what_is_base64_is_taken(client, content, size):
    status = client.post("/v1/notifications", json={**MESSAGE, "attachments": [{**FILE, "content": content}]}).json

    [file] = client.get(f"/v1/notifications/{status['id']}/content").json["attachments"]
    assert file["size"] == size


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        " a",
        "a ",
        ".",
        "..",
        ".htaccess",
        "../a",
        "a/b",
        "/etc/passwd",
        "a\\b",
        "C:\\a.txt",
        "x" * 256,
        "ä" * 128,
        *(f"a{odd}b" for odd in NOT_ONE_LINE),
        None,
        7,
        ["a"],
    ],
    ids=lambda name: ascii(name)[:20],
)
def test_an_odd_file_name_is_refused(refused, name):
    assert list(refused(attachments=[{**FILE, "filename": name}])) == ["/attachments/0/filename"]


@pytest.mark.parametrize(
    "name", ["a", "Rechnung für Ärger.pdf", "a.b.c", "報告.pdf", "a:b", '"a"; b', "x" * 255, "ä" * 127]
)
def test_any_other_file_name_is_taken(client, name):
    answer = client.post("/v1/notifications", json={**MESSAGE, "attachments": {**FILE, "filename": name}})

    assert answer.status_code == 202


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "text",
        "text/",
        "/plain",
        "text/plain/x",
        "text plain",
        "text/plain\r\nX: y",
        "text/plain; name=evil.exe",
        "text/plain; charset=",
        "text/plain;",
        "text/pl ain",
        "téxt/plain",
        "*/*",
        "message/rfc822",
        "Message/Partial",
        "multipart/mixed",
        "MULTIPART/related",
        "x" * 128 + "/y",
        None,
        7,
    ],
    ids=lambda kind: ascii(kind)[:20],
)
def test_an_odd_or_composite_type_is_refused(refused, kind):
    assert list(refused(attachments=[{**FILE, "content_type": kind}])) == ["/attachments/0/content_type"]


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/vnd.oasis.opendocument.text",
        "image/svg+xml",
        "text/csv; charset=utf-8",
        "Text/HTML;charset=UTF-8",
    ],
)
def test_any_other_type_is_taken(client, kind):
    answer = client.post("/v1/notifications", json={**MESSAGE, "attachments": {**FILE, "content_type": kind}})

    assert answer.status_code == 202


@pytest.mark.parametrize("content_id", ["", "x" * 65, "a b", "<a>", "a@b", "a\n", "ä", None, 7], ids=ascii)
def test_an_odd_content_id_is_refused(refused, content_id):
    assert list(refused(attachments=[{**FILE, "content_id": content_id}])) == ["/attachments/0/content_id"]


def test_a_content_id_twice_is_refused_where_it_stands_again(refused):
    files = [{**FILE, "content_id": "logo"}, FILE, {**FILE, "content_id": "logo"}, {**FILE, "content_id": "Logo"}]

    assert refused(attachments=files) == {"/attachments/2/content_id": "repeated"}


@pytest.mark.parametrize(
    ("files", "places"),
    [
        ("a", {"/attachments": "invalid_type"}),
        (None, {"/attachments": "null"}),
        ([7], {"/attachments/0": "invalid_type"}),
        ([FILE, None], {"/attachments/1": "invalid_type"}),
        ([FILE] * 101, {"/attachments": "too_long"}),
        ([{**FILE, "disposition": "inline"}], {"/attachments/0/disposition": "unknown_field"}),
        ({"filename": "a"}, {"/attachments/content_type": "required", "/attachments/content": "required"}),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_what_is_no_list_of_files_is_refused(refused, files, places):
    assert refused(attachments=files) == places


OWNED = [
    *("From", "To", "Cc", "BCC", "date", "Message-ID", "SUBJECT", "Reply-To", "Sender", "MIME-Version", "Return-Path"),
    *("Received", "Received-SPF", "Delivered-To", "X-Original-To", "Errors-To", "Authentication-Results", "ARC-Seal"),
    *("DKIM-Signature", "Resent-From", "Content-Type", "content-transfer-encoding", "Content-Anything"),
]
ODD_NAMES = [
    "",
    " ",
    "X Order",
    "X-Order:",
    "X:Y",
    "X-Örder",
    "X\n",
    "X-Order\r\nBcc",
    "\x7f",
    "\t",
    "x" * 77,
    "\ud800",
]


@pytest.mark.parametrize("name", OWNED)
def test_a_header_that_we_or_a_relay_own_is_refused_at_the_door(refused, name):
    assert refused(headers={"X-Order": "7", name: "x"}) == {f"/headers/{name}": "not_allowed"}


@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
def test_an_odd_name_is_refused(refused, name):
    [place] = refused(headers={name: "x"})
    assert place.startswith("/headers/")


@pytest.mark.parametrize("value", ["", " ", None, 7, True, [], {}, *NOT_ONE_LINE, "a\nBcc: eve@example.org"], ids=ascii)
def test_an_odd_value_is_refused(refused, value):
    assert list(refused(headers={"X-Order": value})) == ["/headers/X-Order"]


@pytest.mark.parametrize("headers", ["a", [], None, 7, {f"X-{number}": "x" for number in range(21)}], ids=lambda _: "")
def test_what_is_no_small_object_is_refused(refused, headers):
    assert list(refused(headers=headers)) == ["/headers"]


def test_a_name_in_two_cases_is_refused(refused):
    assert refused(headers={"X-Order": "7", "x-order": "8"}) == {"/headers/x-order": "repeated"}


@pytest.mark.parametrize("name", ["X", "X" * 76])
def test_a_line_of_998_characters_is_the_longest_and_can_be_sent(client, refused, name):
    longest = 998 - len(name) - 2

    assert client.post("/v1/notifications", json={**MESSAGE, "headers": {name: "x" * longest}}).status_code == 202
    assert wire.custom(name, "x" * longest)
    assert refused(headers={name: "x" * (longest + 1)}) == {f"/headers/{name}": "too_long"}


@pytest.mark.parametrize(
    "name", [*OWNED, *ODD_NAMES[:-2], "X-Order", "List-Unsubscribe", "References", "Auto-Submitted"]
)
def test_what_the_door_lets_in_the_transport_sends(client, name):
    answer = client.post("/v1/notifications", json={**MESSAGE, "headers": {name: "x"}})

    if answer.status_code == 202:
        assert wire.custom(name, "x")
