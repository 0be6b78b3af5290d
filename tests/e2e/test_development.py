import itertools
import shlex
import smtplib
import time

import pytest

from tests.e2e.server import PATIENCE, Answer, Server


def commands_in(greeting: str) -> list[list[str]]:
    """Return the curl commands of the greeting, split as a shell would."""
    joined = greeting.replace("\\\n", " ")
    return [shlex.split(line) for line in joined.splitlines() if line.strip().startswith("curl")]


def paste(server: Server, command: list[str]) -> Answer:
    """Send the request that a curl command stands for."""
    assert command[:2] == ["curl", "-sS"]
    url = next(part for part in command if part.startswith("http"))
    base, path = f"http://{server.host}:{server.port}", url.split("/", 3)[3]
    assert url == f"{base}/{path}"
    options = list(itertools.pairwise(command))
    headers = dict(value.split(": ", 1) for name, value in options if name == "-H")
    body = next((value.encode() for name, value in options if name == "-d"), None)
    server.key = headers.pop("Authorization").removeprefix("Bearer ")
    return server.request("POST" if body else "GET", f"/{path}", body, **headers)


def wait_for_mails(server: Server, count: int) -> list[dict[str, object]]:
    deadline = time.monotonic() + PATIENCE
    while len(found := server.get("/v1/inbox").body["data"]) < count:
        assert time.monotonic() < deadline, f"{found}\n{server.log()}"
        time.sleep(0.05)
    return list(found)


@pytest.fixture
def dev(tmp_path):
    with Server(tmp_path / "fresh", "dev", "--smtp-port", "0", POSTROOM_SENDER="", MAIL_SERVER="") as server:
        server.wait_for_line(r"curl.*/v1/inbox")
        yield server


def test_what_is_printed_registers_a_user_and_shows_the_mail_that_this_sent(dev):
    assert f"http://{dev.host}:{dev.port}/docs" in dev.log()
    assert dev.get("/docs").status == 200
    register, read = commands_in(dev.log())
    registered = paste(dev, register)
    assert registered.status == 202
    wait_for_mails(dev, 2)
    listed = paste(dev, read).body["data"]
    assert {to for mail in listed for to in mail["to"]} == {"admin@example.org", "ann@example.org"}
    for mail in listed:
        assert mail["from"] == "postroom@example.org"
        whole = dev.get(f"/v1/inbox/{mail['id']}").body
        assert "ann" in whole["text"]
        assert "ann" in whole["html"]
        assert whole["subject"] == mail["subject"]
    for notice in registered.body["notifications"]:
        status = dev.wait_for_status(notice["url"].removeprefix(f"http://{dev.host}:{dev.port}"), "sent")
        assert "kept in the inbox" in status["deliveries"][0]["history"][0]["reply"]


def test_the_key_and_the_mails_are_there_after_a_restart(dev):
    register, read = commands_in(dev.log())
    paste(dev, register)
    before = {mail["id"] for mail in wait_for_mails(dev, 2)}
    key = dev.key
    assert dev.stop() == 0
    dev.start()
    dev.wait_for_line(r"curl.*/v1/inbox")
    _, read = commands_in(dev.log())
    assert {mail["id"] for mail in paste(dev, read).body["data"]} == before
    assert dev.key == key


def test_the_inbox_takes_mail_from_any_program_on_this_machine(dev):
    port = int(dev.wait_for_line(r"127\.0\.0\.1:(\d+), which keeps it in the inbox")[1])
    with smtplib.SMTP(dev.host, port, local_hostname="client.test") as client:
        client.sendmail("me@example.net", ["you@example.net"], b"Subject: by hand\r\n\r\nhello\r\n")
    [mail] = wait_for_mails(dev, 1)
    assert mail["subject"] == "by hand"


def test_a_relay_that_the_operator_names_gets_the_mail(start, relay):
    server = start("dev")
    registered = server.post("/v1/users", {"username": "ann", "email": "ann@example.org"})
    assert registered.status == 202
    assert {mail.recipients[0] for mail in relay.wait_for(2)} == {"admin@example.org", "ann@example.org"}
    assert server.get("/v1/inbox").body["data"] == []
    assert "/v1/inbox" not in server.log()
