import contextlib
import smtplib
import socket
import threading
from email.message import EmailMessage

import pytest

from api.core import inbox as captured
from api.core.db import db
from api.core.keys import operator
from api.core.models import Capture
from api.delivery.inbox import MAX_SIZE, Inbox


def loopback() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    return listener


@pytest.fixture
def inbox(app):
    inbox = Inbox(app, loopback())
    inbox.start()
    yield inbox
    inbox.stop()


def connect(inbox: Inbox) -> smtplib.SMTP:
    host, port = inbox.address
    return smtplib.SMTP(host, port, "client.test")


@pytest.fixture
def client(inbox):
    with connect(inbox) as client:
        yield client


def mail(text: str = "Good day.\n", subject: str = "Hello") -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@example.org", "b@example.org", subject
    message.set_content(text)
    return message


def captures() -> list[Capture]:
    return list(captured.search(key=operator(), limit=100).data)


def test_a_mail_is_kept_as_it_came_with_its_envelope(app, client):
    message = mail(text=".dot\n..dots\n", subject="Grüße")
    client.send_message(message, from_addr="bounce@example.org", to_addrs=["b@example.org", "hidden@example.org"])
    [kept] = captures()
    assert kept.sender == "bounce@example.org"
    assert kept.recipients == ["b@example.org", "hidden@example.org"]
    assert kept.subject == "Grüße"
    assert captured.parsed(captured.get(kept.id, key=operator()).raw).get_content().splitlines() == [".dot", "..dots"]


def test_several_mails_come_over_one_connection_newest_first(app, client):
    for number in range(3):
        client.send_message(mail(subject=f"Number {number}"))
    assert [kept.subject for kept in captures()] == ["Number 2", "Number 1", "Number 0"]


def test_connections_at_once_lose_nothing(app, inbox):
    def send(number: int) -> None:
        with connect(inbox) as client:
            for part in range(5):
                client.send_message(mail(subject=f"{number}-{part}"))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(kept.subject for kept in captures()) == sorted(f"{a}-{b}" for a in range(8) for b in range(5))


def test_it_offers_8bitmime_and_a_size_but_no_smtputf8_and_no_login(client):
    client.ehlo()
    assert client.has_extn("8bitmime")
    assert client.esmtp_features["size"] == str(MAX_SIZE)
    assert not client.has_extn("smtputf8")
    assert not client.has_extn("auth")


def test_eight_bit_content_is_kept_octet_by_octet(app, client):
    content = "From: a@example.org\r\nSubject: x\r\n\r\nGrüße\r\n".encode()
    client.sendmail("a@example.org", ["b@example.org"], content, mail_options=["BODY=8BITMIME"])
    [kept] = captures()
    assert kept.raw == content


def test_a_mail_that_is_too_large_is_refused_before_its_content(app, client):
    client.ehlo()
    code, _ = client.mail("a@example.org", [f"SIZE={MAX_SIZE + 1}"])
    assert code == 552
    assert captures() == []


def test_the_empty_sender_of_a_bounce_is_kept_as_empty(app, client):
    client.sendmail("", ["b@example.org"], b"Subject: x\r\n\r\nbounced\r\n")
    assert captures()[0].sender == ""


def test_a_mail_without_a_subject_is_kept(app, client):
    client.sendmail("a@example.org", ["b@example.org"], b"no header at all\r\n")
    assert captures()[0].subject == ""


def test_a_client_that_vanishes_in_the_middle_of_a_mail_leaves_none(app, inbox):
    client = connect(inbox)
    client.ehlo()
    client.mail("a@example.org")
    client.rcpt("b@example.org")
    client.docmd("DATA")
    client.send(b"Subject: half\r\n\r\nhalf of")
    client.close()
    with connect(inbox) as other:
        other.send_message(mail(subject="whole"))
    assert [kept.subject for kept in captures()] == ["whole"]


def test_a_mail_that_cannot_be_stored_is_deferred_and_the_next_one_kept(app, client):
    with db.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE captures RENAME TO elsewhere")
    with pytest.raises(smtplib.SMTPDataError) as refused:
        client.send_message(mail())
    assert refused.value.smtp_code == 451
    assert b"sqlite" not in refused.value.smtp_error.lower()
    with db.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO captures")
    client.send_message(mail(subject="again"))
    assert [kept.subject for kept in captures()] == ["again"]


def test_what_connects_before_it_runs_is_served_once_it_does(app):
    listener = loopback()
    listener.listen()
    early = socket.create_connection(listener.getsockname(), timeout=10)
    inbox = Inbox(app, listener)
    inbox.start()
    assert early.recv(100).startswith(b"220 ")
    early.close()
    inbox.stop()


def test_it_takes_no_mail_from_other_machines(app):
    with socket.socket() as open_to_all:
        open_to_all.bind(("0.0.0.0", 0))
        with pytest.raises(ValueError, match="this machine only"):
            Inbox(app, open_to_all)


def test_stopping_hangs_up_and_frees_the_port(app):
    inbox = Inbox(app, loopback())
    inbox.start()
    address = inbox.address
    client = socket.create_connection(address, timeout=10)
    assert client.recv(100).startswith(b"220 ")
    inbox.stop()
    with contextlib.suppress(ConnectionResetError):
        assert client.recv(100) == b""
    client.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=10)
