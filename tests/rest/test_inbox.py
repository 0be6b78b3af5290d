"""/v1/inbox: captured mail is shown, whatever it is made of."""

import base64
from email.message import EmailMessage
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.core import inbox
from api.core.models import Capture
from schemas.vocabulary import Mode
from tests.rest.conftest import is_problem

PIECES = st.sampled_from(
    [
        *[b"Subject: ", b"Content-Type: ", b"text/plain", b"multipart/mixed", b"message/rfc822", b"; boundary=x"],
        *[
            b'; charset="',
            b"utf-7",
            b"utf-16",
            b"nothing",
            b'"',
            b"\r\n",
            b"\r\n\r\n",
            b"--x",
            b"--x--",
            b"=?utf-8?q?",
            b"?=",
        ],
        *[
            b"Content-Transfer-Encoding: base64",
            b"quoted-printable",
            b"8bit",
            b"\xff",
            b"\x00",
            b"From: <",
            b"@",
            b"a",
            b"; ",
        ],
        *[b"Content-Disposition: attachment; filename*0*=utf-8''%ff", b"Content-ID: <x>", b"Date: ", b"(", b"[", b","],
    ]
)


@pytest.fixture
def capture(client):
    """Capture a mail; return how the inbox shows it."""

    def capture(raw, **envelope):
        inbox.capture(
            **{"mode": Mode.LIVE, "sender": "a@example.org", "recipients": ["b@example.org"], **envelope}, raw=raw
        )
        [newest] = client.get("/v1/inbox?limit=1").json["data"]
        answer = client.get(f"/v1/inbox/{newest['id']}")
        assert answer.status_code == 200, answer.text
        assert newest.items() <= answer.json.items()
        return answer.json

    return capture


def mail(**options):
    message = EmailMessage()
    message["Subject"] = "Grüße, 李"
    message["From"] = "Jörg <a@example.org>"
    message["To"] = "b@example.org"
    message.set_content("żółć\n.\n", **options)
    message.add_alternative("<p>żółć</p>\n", subtype="html")
    return message


def test_a_mail_is_shown_with_its_envelope_headers_and_bodies(capture):
    raw = mail().as_bytes()
    shown = capture(raw, recipients=["b@example.org", "c@example.org"])

    assert shown["from"] == "a@example.org"
    assert shown["to"] == ["b@example.org", "c@example.org"]
    assert shown["subject"] == "Grüße, 李"
    assert shown["received_at"].endswith("Z")
    assert {"name": "Subject", "value": "Grüße, 李"} in shown["headers"]
    assert {"name": "From", "value": "Jörg <a@example.org>"} in shown["headers"]
    assert shown["text"] == "żółć\n.\n"
    assert shown["html"] == "<p>żółć</p>\n"
    assert shown["attachments"] == []
    assert (shown["raw"], shown["raw_encoding"]) == (raw.decode(), "utf-8")


def test_attachments_are_named_with_type_size_and_content_id(capture):
    message = mail()
    message.add_attachment(b"\x00" * 7, maintype="application", subtype="pdf", filename="a ü.pdf")
    message.add_attachment(b"GIF", maintype="image", subtype="gif", cid="<logo>")
    message.add_attachment("note", filename="note.txt")
    inner = EmailMessage()
    inner["Subject"] = "inner"
    inner.set_content("inside")
    message.add_attachment(inner)

    shown = capture(message.as_bytes())

    assert shown["text"] == "żółć\n.\n"
    assert [(one["filename"], one["content_type"], one["content_id"]) for one in shown["attachments"]] == [
        ("a ü.pdf", "application/pdf", None),
        (None, "image/gif", "logo"),
        ("note.txt", "text/plain", None),
        (None, "message/rfc822", None),
    ]
    assert [one["size"] for one in shown["attachments"]][:2] == [7, 3]
    assert shown["attachments"][3]["size"] > 0


def test_repeated_headers_are_all_shown_in_their_order(capture):
    shown = capture(b"Received: one\r\nX-A: 1\r\nReceived: two\r\n\r\n")

    assert shown["headers"] == [
        {"name": "Received", "value": "one"},
        {"name": "X-A", "value": "1"},
        {"name": "Received", "value": "two"},
    ]


def test_bytes_that_are_no_text_come_in_base64(capture):
    raw = b"Subject: x\r\n\r\n\xff\xfe\x00"
    shown = capture(raw)

    assert shown["raw_encoding"] == "base64"
    assert base64.b64decode(shown["raw"]) == raw


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x00",
        b"\xff" * 100,
        b"no header at all",
        b"Subject: \xff\xfe\r\n\r\n",
        "Subject: Grüße\r\n\r\n".encode(),
        b"Subject: =?utf-8?b?7aCA?=\r\n\r\n",
        b"Content-Type: text/plain; charset=nothing\r\n\r\n\xe4",
        b"Content-Type: text/plain; charset=utf-7\r\n\r\n+2AA-",
        b"Content-Type: multipart/mixed\r\n\r\nno boundary",
        b"Content-Type: message/rfc822\r\n\r\n",
        b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!!",
        b'Content-Type: multipart/mixed; boundary="x"\r\n\r\n--x\r\n\r\n--x',
        b"Content-Transfer-Encoding: base64\r\n\r\n!!!!",
        b"From: <>\r\nTo: ,,,\r\nDate: nonsense\r\nMessage-ID: \r\n\r\n",
        b"To: " + b"(" * 5000 + b"\r\n\r\n",
        b"".join(b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n--%d\r\n' % (one, one) for one in range(300)),
    ],
    ids=lambda raw: repr(raw[:32]),
)
def test_odd_mail_is_shown_as_far_as_it_goes(capture, raw):
    shown = capture(raw)

    whole = base64.b64decode(shown["raw"]) if shown["raw_encoding"] == "base64" else shown["raw"].encode()
    assert whole == raw


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(st.binary(max_size=100) | st.lists(PIECES, max_size=20).map(b"".join))
def test_no_bytes_whatever_are_a_fault_of_the_server(capture, raw):
    capture(raw)


def test_each_mode_has_an_inbox_of_its_own(client, test_client, count):
    inbox.capture(mode=Mode.TEST, sender="a@example.org", recipients=["b@example.org"], raw=b"Subject: test\r\n\r\n")
    inbox.capture(mode=Mode.LIVE, sender="a@example.org", recipients=["b@example.org"], raw=b"Subject: live\r\n\r\n")
    [live] = client.get("/v1/inbox").json["data"]
    [test] = test_client.get("/v1/inbox").json["data"]

    assert (live["subject"], test["subject"]) == ("live", "test")
    assert is_problem(client.get(f"/v1/inbox/{test['id']}"), 404)

    assert test_client.delete("/v1/inbox").status_code == 204
    assert test_client.get("/v1/inbox").json["data"] == []
    assert client.get("/v1/inbox").json["data"] == [live]
    assert count(Capture) == 1


def test_an_unknown_mail_is_404(client):
    assert is_problem(client.get(f"/v1/inbox/{uuid4()}"), 404)
