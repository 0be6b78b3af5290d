import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from tests.e2e.server import PATIENCE
from tests.relay.actions import hang
from tests.relay.script import Rule

ANN = {"username": "ann", "email": "ann@example.org", "name": "Änne Example"}


def message(number: int = 0, **more: object) -> dict[str, object]:
    return {"to": [f"user{number}@example.org"], "subject": f"Number {number}", "text": "Good day.\n"} | more


def post_all(server, count: int) -> list[str]:
    """Post so many messages, each to another recipient, and return the paths of their statuses."""
    answers = [server.post("/v1/notifications", message(number)) for number in range(count)]
    assert [answer.status for answer in answers] == [202] * count
    return [path_of(answer.headers["Location"]) for answer in answers]


def wait_for_command(relay, verb: str) -> None:
    """Return once a client has said this to the relay."""
    deadline = time.monotonic() + PATIENCE
    while not any(command.verb == verb for command in relay.commands()):
        assert time.monotonic() < deadline, relay.dialogue()
        time.sleep(0.02)


def path_of(url: str) -> str:
    return urlsplit(url).path


def text_of(mail, kind: str) -> str:
    part = mail.parsed.get_body((kind,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


def test_a_registration_becomes_the_notice_to_the_admin_and_the_welcome_mail(start, relay):
    server = start(POSTROOM_ADMIN="The Admin <admin@example.org>", POSTROOM_SUBJECT_PREFIX="[Shop]")
    registered = server.post("/v1/users", ANN)
    assert registered.status == 202
    assert registered.body["known"] is False
    statuses = [server.wait_for_status(path_of(notice["url"]), "sent") for notice in registered.body["notifications"]]
    assert [status["template"]["name"] for status in statuses] == ["new_user", "welcome"]
    mails = {mail.recipients: mail for mail in relay.wait_for(2)}
    assert mails.keys() == {("admin@example.org",), ("ann@example.org",)}
    for mail in mails.values():
        assert mail.parsed["Subject"].startswith("[Shop] ")
        assert mail.parsed["From"] == "Postroom <postroom@example.org>"
        for kind in ("plain", "html"):
            assert "ann" in text_of(mail, kind)
    assert relay.violations() == []


def test_a_message_arrives_as_it_was_posted_and_its_status_holds_the_relays_reply(start, relay):
    server = start()
    posted = {
        "to": [{"email": "bob@example.org", "name": "Bob, Jr."}],
        "cc": ["carol@example.org"],
        "bcc": ["dave@example.org"],
        "subject": "Grüße aus Köln",
        "text": ".dot\nÜber 5 €\n",
        "html": "<p>Über <b>5 €</b></p>",
    }
    answer = server.post("/v1/notifications", posted)
    assert answer.status == 202
    status = server.wait_for_status(path_of(answer.headers["Location"]), "sent")
    mails = {mail.recipients[0]: mail for mail in relay.wait_for(3)}
    for delivery in status["deliveries"]:
        [attempt] = delivery["history"]
        assert (attempt["outcome"], attempt["code"]) == ("sent", 250)
        assert mails[delivery["recipient"]].queue_id in attempt["reply"]
        assert delivery["possible_duplicate"] is False
    assert len({mail.raw for mail in mails.values()}) == 1
    mail = mails["dave@example.org"]
    assert mail.parsed["Message-ID"] == status["message_id"]
    assert mail.parsed["Subject"] == posted["subject"]
    [to] = mail.parsed["To"].addresses
    assert (to.addr_spec, to.display_name) == ("bob@example.org", "Bob, Jr.")
    assert mail.parsed["Cc"] == "carol@example.org"
    assert b"dave" not in mail.raw
    assert text_of(mail, "plain") == posted["text"]
    assert text_of(mail, "html").strip() == posted["html"]
    assert relay.violations() == []


def test_what_is_queued_when_everything_is_killed_arrives_exactly_once_after_the_restart(start, relay):
    relay.refuse()
    server = start(ready=False)
    paths = post_all(server, 12)
    server.kill()
    assert relay.messages() == []
    relay.listen()
    server.start(ready=False)
    statuses = [server.wait_for_status(path, "sent") for path in paths]
    assert Counter(mail.message_id for mail in relay.messages()) == Counter(each["message_id"] for each in statuses)
    assert not any(delivery["possible_duplicate"] for each in statuses for delivery in each["deliveries"])


def test_what_is_being_sent_when_everything_is_killed_arrives_after_the_restart(start, relay):
    relay.script(Rule("data", hang()))
    server = start()
    paths = post_all(server, 6)
    wait_for_command(relay, "DATA")
    server.kill()
    relay.script()
    server.start()
    statuses = [server.wait_for_status(path, "sent") for path in paths]
    assert Counter(mail.message_id for mail in relay.messages()) == Counter(each["message_id"] for each in statuses)


def test_many_workers_make_one_user_of_the_same_registration_at_once(start, relay):
    server = start("serve", "--workers", "4", POSTROOM_ADMIN="admin@example.org")
    assert len(server.workers()) == 4
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: server.post("/v1/users", ANN), range(48)))
    assert Counter(answer.status for answer in answers) == {202: 1, 200: 47}
    assert len({answer.body["id"] for answer in answers}) == 1
    assert len(server.get("/v1/users").body["data"]) == 1
    [first] = [answer for answer in answers if answer.status == 202]
    for notice in first.body["notifications"]:
        server.wait_for_status(path_of(notice["url"]), "sent")
    assert sorted(mail.recipients[0] for mail in relay.messages()) == ["admin@example.org", "ann@example.org"]


def test_another_process_may_dispatch_what_the_server_accepts(start, relay):
    server = start(ready=False, POSTROOM_DISPATCH="none")
    [path] = post_all(server, 1)
    assert server.get("/readyz").status == 503
    assert server.get(path).body["status"] == "queued"
    dispatcher = start("dispatch")
    server.wait_for_status(path, "sent")
    server.wait_until_up("/readyz")
    assert dispatcher.stop() == 0
    assert len(relay.messages()) == 1
