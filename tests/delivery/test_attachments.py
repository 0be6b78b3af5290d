"""Files and headers of the caller's own, from the use-case through the dispatcher to a real relay and parsed back."""

import base64
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from api.config import Settings
from api.core import contents, inbox
from api.core.claim import Address
from api.core.models import Capture, Content
from api.core.uploads import Upload
from api.delivery.dispatch import Dispatcher
from schemas.vocabulary import DeliveryStatus
from tests.relay.process import Relay

PDF = bytes(range(256)) * 700
GIF = b"GIF89a\x01\x00\r\n.\r\n\x00;"
NAME = "Rechnung für „Ännchen“, 2027.pdf"


def upload(filename: str, kind: str, content: bytes, content_id: str | None = None) -> Upload:
    return Upload(filename, kind, base64.b64encode(content).decode(), content_id)


FILES = [
    upload(NAME, "application/pdf", PDF),
    upload("logo.gif", "image/gif", GIF, "logo"),
    upload("empty.txt", "text/plain; charset=utf-8", b""),
]


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    """A relay in a process of its own."""
    with Relay(tmp_path) as relay:
        yield relay


@pytest.fixture
def settings(settings: Settings, relay: Relay) -> Settings:
    """Settings that point to the relay."""
    return replace(settings, mail_server=relay.host, mail_port=relay.port, mail_timeout=10.0, mail_deadline=20.0)


@pytest.fixture
def drain(app):
    """Dispatch until nothing is due."""
    return lambda: Dispatcher(app).run_until_idle()


def _check(message) -> None:
    """Check the tree of a mail with `FILES`, text and HTML, and that every byte came as it went."""
    assert message.get_content_type() == "multipart/mixed"
    related, *attached = message.iter_parts()
    assert related.get_content_type() == "multipart/related"
    alternative, logo = related.iter_parts()
    assert [part.get_content_type() for part in alternative.iter_parts()] == ["text/plain", "text/html"]
    assert (logo["Content-ID"], logo.get_content_disposition(), logo.get_content()) == ("<logo>", "inline", GIF)
    pdf, empty = attached
    assert (pdf.get_filename(), pdf.get_content_type(), pdf.get_content()) == (NAME, "application/pdf", PDF)
    assert pdf.get_content_disposition() == empty.get_content_disposition() == "attachment"
    assert (empty.get_filename(), empty.get_content()) == ("empty.txt", "")


def test_files_and_headers_arrive_whole_and_in_their_places(accept, drain, relay, delivery):
    notification = accept(
        to=[Address("ann@example.org"), Address("bob@example.org")],
        html='<p>Good day.</p><img src="cid:logo">',
        attachments=FILES,
        headers={"X-Order": "7", "List-Unsubscribe": f"<https://example.org/{'u' * 90}>", "X-Name": "Ännchen"},
    )

    drain()

    assert delivery(notification).status is DeliveryStatus.SENT
    messages = relay.messages()
    assert sorted(message.recipients for message in messages) == [("ann@example.org",), ("bob@example.org",)]
    assert len({message.raw for message in messages}) == 1
    assert relay.violations() == []
    parsed = messages[0].parsed
    _check(parsed)
    assert (parsed["X-Order"], parsed["X-Name"]) == ("7", "Ännchen")
    assert f"\nList-Unsubscribe: <https://example.org/{'u' * 90}>\r\n".encode() in messages[0].raw


def test_a_test_keys_files_are_captured(accept, drain, relay, test_key, count):
    accept(key=test_key, html="<p>Good day.</p>", attachments=FILES)

    drain()

    assert count(Capture) == 1
    [captured] = inbox.search(key=test_key, limit=1).data
    _check(inbox.parsed(captured.raw))
    assert relay.messages() == []


def test_more_files_than_there_is_room_for_are_all_sent_one_after_the_other(accept, drain, relay, monkeypatch):
    monkeypatch.setattr(contents, "MAX_ATTACHED", 4096)
    for number in range(12):
        accept(to=[Address(f"user{number}@example.org")], attachments=[upload("a.bin", "a/b", bytes(3000))])
    accept(attachments=[upload("large.bin", "a/b", bytes(9000))])

    drain()

    assert len(relay.messages()) == 13


def test_what_is_scheduled_is_sent_at_its_time_by_the_dispatcher(accept, drain, relay, at):
    accept(send_at=at() + timedelta(hours=1))

    drain()
    assert relay.messages() == []
    at(hours=1, seconds=1)
    drain()
    assert len(relay.messages()) == 1


def test_the_dispatcher_lets_go_of_old_contents(accept, drain, count, at):
    accept(attachments=FILES)
    drain()
    assert count(Content) == 1

    at(days=31)
    drain()

    assert count(Content) == 0
