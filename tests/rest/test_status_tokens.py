"""`"status_token": true`: a browser follows its own message without a key, and nothing else."""

import logging
import re
from dataclasses import replace
from uuid import uuid4

import pytest

from api.core import watch
from tests.rest.conftest import MESSAGE, USER, is_problem, pointers

STREAM = {"Accept": "text/event-stream"}
ORIGIN = "https://app.example.org"


@pytest.fixture
def tokened(client):
    """Send a message; return its status resource and its token."""

    def tokened(by=client, **message):
        answer = by.post("/v1/notifications", json={**MESSAGE, "status_token": True, **message})
        assert answer.status_code == 202, answer.text
        return answer.json, answer.json["status_token"]

    return tokened


def test_without_asking_for_it_there_is_none(client, send):
    assert "status_token" not in send()
    assert "status_token" not in send(status_token=False)


@pytest.mark.parametrize("value", ["true", 1, 0, None, [], "yes", {}])
def test_the_wish_is_true_or_false(client, nothing_stored, value):
    with nothing_stored():
        answer = client.post("/v1/notifications", json={**MESSAGE, "status_token": value})

    assert is_problem(answer, 422)
    assert pointers(answer).keys() == {"/status_token"}


def test_the_token_reads_the_status_without_a_key(client, anonymous, tokened):
    status, token = tokened()
    answer = anonymous.get(status["url"], query_string={"token": token})

    assert answer.status_code == 200
    assert answer.data == client.get(status["url"]).data
    assert anonymous.head(status["url"], query_string={"token": token}).status_code == 200


def test_the_token_waits_and_asks_again(anonymous, client, tokened):
    status, token = tokened()
    query = {"token": token}
    tag = anonymous.get(status["url"], query_string=query).headers["ETag"]
    headers = {"If-None-Match": tag, "Prefer": "wait=1"}

    answer = anonymous.get(status["url"], query_string=query, headers=headers)

    assert (answer.status_code, answer.headers["Preference-Applied"]) == (304, "wait=1")


def test_the_token_follows_events(anonymous, client, tokened):
    status, token = tokened()
    client.post(f"{status['url']}/cancel")

    answer = anonymous.get(f"{status['url']}/events", query_string={"token": token}, headers=STREAM)

    assert answer.status_code == 200
    assert "event: finished" in answer.text


def test_the_token_of_test_mail_reads_that(anonymous, test_client, tokened):
    status, token = tokened(test_client)

    assert anonymous.get(status["url"], query_string={"token": token}).json["id"] == status["id"]


def test_the_token_opens_nothing_else(app, anonymous, tokened):
    status, token = tokened()
    tried = 0
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<uuid:notification_id>", status["id"], rule.rule)
        path = re.sub(r"<uuid:\w+>", str(uuid4()), path)
        path = re.sub(r"<\w+>", "name", path)
        for method in rule.methods - {"OPTIONS"}:
            reads = rule.rule.endswith(("<uuid:notification_id>", "/events")) and method in ("GET", "HEAD")
            if rule.rule.startswith("/v1/") and not reads:
                answer = anonymous.open(path, method=method, query_string={"token": token})
                assert answer.status_code == 401, (method, path)
                tried += 1
    assert tried > 25


def test_every_bad_token_is_refused_like_every_bad_key(anonymous, client, tokened, at):
    status, token = tokened()
    other, _ = tokened()
    bad = [
        (status["url"], {"token": "nonsense"}),
        (status["url"], {"token": ""}),
        (status["url"], {"token": token[:-1] + ("A" if token[-1] != "A" else "B")}),
        (status["url"], {"token": [token, token]}),
        (status["url"], {"Token": token}),
        (other["url"], {"token": token}),
        (f"{other['url']}/events", {"token": token}),
    ]
    answers = [anonymous.get(url, query_string=query, headers=STREAM) for url, query in bad]
    answers.append(anonymous.get(status["url"], headers={"Authorization": f"Bearer {token}"}))
    answers.append(anonymous.get(status["url"], headers={"X-Token": token, "Cookie": f"token={token}"}))
    at(hours=25)
    answers.append(anonymous.get(status["url"], query_string={"token": token}))
    answers.append(anonymous.get(f"{status['url']}/events", query_string={"token": token}, headers=STREAM))
    keyless = anonymous.get(status["url"])
    for answer in answers:
        assert is_problem(answer, 401)
        assert {**answer.json, "instance": ""} == {**keyless.json, "instance": ""}
        assert answer.headers["WWW-Authenticate"] == keyless.headers["WWW-Authenticate"]


def test_of_key_and_token_the_key_counts(anonymous, client, client_with, tokened):
    status, token = tokened()

    assert client.get(status["url"], query_string={"token": "nonsense"}).status_code == 200
    query = {"token": token}
    assert is_problem(client_with().get(status["url"], query_string=query), 403)
    bad = {"Authorization": "Bearer nonsense"}
    assert is_problem(anonymous.get(status["url"], query_string=query, headers=bad), 401)
    assert is_problem(anonymous.get(status["url"], query_string=query, headers={"Authorization": ""}), 401)


def test_the_token_of_what_is_erased_reads_what_is_left(anonymous, client, tokened):
    status, token = tokened()
    client.delete("/v1/recipients/ann@example.org")

    assert "ann@example.org" not in anonymous.get(status["url"], query_string={"token": token}).text


def test_the_same_request_again_gets_the_same_token(client, tokened):
    body, key = {**MESSAGE, "status_token": True}, {"Idempotency-Key": "order-7"}
    first, again = (client.post("/v1/notifications", json=body, headers=key) for _ in range(2))

    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.data == first.data
    assert first.json["status_token"]
    other = client.post("/v1/notifications", json=MESSAGE, headers=key)
    assert is_problem(other, 422)


def test_it_stands_in_the_first_answer_and_nowhere_else(client, anonymous, tokened, caplog):
    caplog.set_level(logging.DEBUG)
    answer = client.post("/v1/notifications", json={**MESSAGE, "status_token": True})
    token = answer.json["status_token"]
    url = answer.json["url"]
    assert token not in str(answer.headers)
    assert token not in url
    for found in (
        client.get(url),
        client.get("/v1/notifications"),
        anonymous.get(url, query_string={"token": token}),
        anonymous.get(f"{url}/events", query_string={"token": token}),
        anonymous.get(f"{url}/content", query_string={"token": token}),
        anonymous.get(url, query_string={"token": token + "x"}),
        client.get("/v1/notifications", query_string={"token": token}),
    ):
        assert token not in found.text + str(found.headers)
    assert token not in caplog.text


def test_one_token_in_many_hands_takes_few_of_the_seats(monkeypatch, anonymous, client, tokened):
    monkeypatch.setattr(watch, "SEATS_BY_TOKEN", 2)
    (status, token), (other, another) = tokened(), tokened()
    streams = [
        anonymous.get(f"{status['url']}/events", query_string={"token": token}, headers=STREAM, buffered=False)
        for _ in range(3)
    ]
    streams.append(client.get(f"{status['url']}/events", headers=STREAM, buffered=False))
    streams.append(
        anonymous.get(f"{other['url']}/events", query_string={"token": another}, headers=STREAM, buffered=False)
    )
    for stream in streams:
        stream.close()

    assert [stream.status_code for stream in streams] == [200, 200, 503, 200, 200]


def test_batches_and_users_have_no_token(client, nothing_stored):
    batch = {"subject": "Hello", "text": "Good day.\n", "messages": [{"to": "ann@example.org"}]}
    bodies = [
        ("/v1/batches", {**batch, "status_token": True}),
        ("/v1/batches", {**batch, "messages": [{"to": "ann@example.org", "status_token": True}]}),
        ("/v1/users", {**USER, "status_token": True}),
    ]
    with nothing_stored():
        for path, body in bodies:
            assert is_problem(client.post(path, json=body), 422)


class TestFromAPage:
    @pytest.fixture
    def settings(self, settings):
        return replace(settings, cors_origins=(ORIGIN,))

    def test_a_listed_origin_reads_with_the_token(self, anonymous, client, tokened):
        status, token = tokened()
        client.post(f"{status['url']}/cancel")
        for path, headers in ((status["url"], {}), (f"{status['url']}/events", STREAM)):
            answer = anonymous.get(path, query_string={"token": token}, headers={"Origin": ORIGIN, **headers})
            assert answer.status_code == 200
            assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
            assert "Origin" in answer.headers.getlist("Vary")
            assert "Preference-Applied" in answer.headers["Access-Control-Expose-Headers"]

    def test_it_may_ask_to_wait_and_to_go_on(self, anonymous, tokened):
        status, token = tokened()
        answer = anonymous.options(
            status["url"],
            query_string={"token": token},
            headers={
                "Origin": ORIGIN,
                "Access-Control-Request-Method": "GET",
                "Access-Control-Request-Headers": "if-none-match, last-event-id, prefer",
            },
        )

        assert answer.headers["Access-Control-Allow-Headers"] == "if-none-match, last-event-id, prefer"

    def test_another_origin_cannot_read_with_it(self, anonymous, tokened):
        status, token = tokened()
        headers = {"Origin": "https://evil.example"}

        answer = anonymous.get(status["url"], query_string={"token": token}, headers=headers)

        assert "Access-Control-Allow-Origin" not in answer.headers
