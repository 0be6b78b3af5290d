"""Idempotency-Key, sentence by sentence of the contract."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from werkzeug.exceptions import BadRequest

from api.app import create_app
from api.core import receipts, users
from api.core.db import close, transact
from api.core.models import Delivery, Notification, User
from api.core.receipts import Receipt
from api.rest import idempotency
from schemas.vocabulary import Scope
from tests.rest.conftest import MESSAGE, USER, authorization, is_problem

KEY = {"Idempotency-Key": "order-7"}
BATCH = {"subject": "Hello", "text": "Good day.\n", "messages": [{"to": "ann@example.org"}, {"to": "bob@example.org"}]}
ROUTES = {"/v1/notifications": MESSAGE, "/v1/users": USER, "/v1/batches": BATCH}
KEPT = ("Location", "Content-Location", "Retry-After", "Content-Type")

keys = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=255)


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@pytest.mark.parametrize(("path", "body"), ROUTES.items())
class TestEveryRoute:
    def test_the_same_key_and_body_get_the_first_answer_again(self, client, count, path, body):
        first = client.post(path, json=body, headers=KEY)
        mails = count(Delivery)
        again = client.post(path, json=body, headers=KEY)

        assert first.status_code == again.status_code == 202
        assert "Idempotent-Replayed" not in first.headers
        assert again.headers["Idempotent-Replayed"] == "true"
        assert again.data == first.data
        assert [again.headers.get(name) for name in KEPT] == [first.headers.get(name) for name in KEPT]
        assert again.headers["X-Request-Id"] != first.headers["X-Request-Id"]
        assert count(Delivery) == mails > 0

    def test_the_answer_with_a_key_is_like_the_answer_without_one(self, client, path, body):
        named = client.post(path, json=body, headers=KEY)
        other = json.loads(json.dumps(body).replace("ann", "eve"))
        plain = client.post(path, json=other)

        assert named.json.keys() == plain.json.keys()
        assert set(named.headers.keys()) == set(plain.headers.keys())

    def test_the_same_key_with_another_body_is_422(self, client, count, path, body):
        client.post(path, json=body, headers=KEY)
        mails = count(Delivery)
        other = client.post(path, json=json.loads(json.dumps(body).replace("ann", "eve")), headers=KEY)

        assert is_problem(other, 422)
        assert [error["code"] for error in other.json["errors"]] == ["idempotency_mismatch"]
        assert count(Delivery) == mails

    def test_fifty_twins_at_once_are_carried_out_once(self, app, client, count, path, body):
        token = authorization(client)

        def post(_number):
            return app.test_client().post(path, json=body, headers={**KEY, **token})

        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(post, range(50)))

        assert {answer.status_code for answer in answers} <= {202, 409}
        told = {answer.data for answer in answers if answer.status_code == 202}
        assert len(told) == 1
        assert sum("Idempotent-Replayed" not in answer.headers for answer in answers if answer.status_code == 202) == 1
        assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers if answer.status_code == 409)
        assert count(Receipt) == 1
        assert count(Notification) == (1 if path == "/v1/notifications" else 2)

    def test_a_refused_request_does_not_use_the_key_up(self, client, count, path, body):
        assert client.post(path, json={**body, "nonsense": 1}, headers=KEY).status_code == 422
        assert count(Receipt) == 0
        answer = client.post(path, json=body, headers=KEY)

        assert answer.status_code == 202
        assert "Idempotent-Replayed" not in answer.headers

    def test_a_key_is_the_callers_own(self, client, client_with, path, body):
        client.post(path, json=body, headers=KEY)
        other = client_with(Scope.ADMIN).post(path, json=body, headers=KEY)

        assert other.status_code in (200, 202)
        assert "Idempotent-Replayed" not in other.headers

    def test_the_first_answer_survives_a_restart(self, app, settings, client, path, body):
        first = client.post(path, json=body, headers=KEY)
        restarted = create_app(settings)
        with restarted.app_context():
            again = restarted.test_client().post(path, json=body, headers={**KEY, **authorization(client)})
        close(restarted)

        assert again.data == first.data
        assert again.headers["Idempotent-Replayed"] == "true"


def test_a_message_that_cannot_be_rendered_does_not_use_the_key_up(client):
    body: dict[str, object] = {"to": "ann@example.org", "template": "welcome"}
    assert client.post("/v1/notifications", json=body, headers=KEY).status_code == 422

    body["data"] = {"user": {"username": "ann", "name": "Ann", "email": "ann@example.org"}}
    assert client.post("/v1/notifications", json=body, headers=KEY).status_code == 202


def test_a_user_that_is_somebody_elses_does_not_use_the_key_up(client, count):
    client.post("/v1/users", json=USER)
    assert client.post("/v1/users", json={**USER, "email": "eve@example.org"}, headers=KEY).status_code == 409
    assert count(Receipt) == 0


def test_the_answer_that_a_user_is_known_is_kept_as_well(client):
    client.post("/v1/users", json=USER)
    first = client.post("/v1/users", json=USER, headers=KEY)
    again = client.post("/v1/users", json=USER, headers=KEY)

    assert first.status_code == again.status_code == 200
    assert again.data == first.data
    assert again.headers["Idempotent-Replayed"] == "true"


def test_a_key_may_be_used_once_for_each_kind_of_request(client):
    answers = [client.post(path, json=body, headers=KEY) for path, body in ROUTES.items()]

    assert [answer.status_code for answer in answers] == [202, 202, 202]
    assert not [answer for answer in answers if "Idempotent-Replayed" in answer.headers]


def test_the_order_of_names_in_the_body_does_not_count(client):
    client.post("/v1/notifications", json=MESSAGE, headers=KEY)
    turned = json.dumps(dict(reversed(MESSAGE.items())), indent=2)
    again = client.post("/v1/notifications", data=turned, content_type="application/json", headers=KEY)

    assert again.headers["Idempotent-Replayed"] == "true"


def test_the_quoted_and_the_bare_form_are_one_key(client):
    first = client.post("/v1/notifications", json=MESSAGE, headers={"Idempotency-Key": "a b"})
    again = client.post("/v1/notifications", json=MESSAGE, headers={"Idempotency-Key": '"a b"'})

    assert again.data == first.data


@pytest.mark.once
@pytest.mark.parametrize(
    "bad", ["", " ", "\t", '""', '"open', '"a"b', '"a";p=1', '"a\\b"', "ä", "a\tb", "x" * 256, '"' + "x" * 256 + '"']
)
def test_a_key_that_is_none_is_400_and_leaves_nothing(client, nothing_stored, bad):
    with nothing_stored():
        assert is_problem(client.post("/v1/notifications", json=MESSAGE, headers={"Idempotency-Key": bad}), 400)


@given(keys)
def test_every_text_has_a_quoted_form_that_means_it(text):
    assert idempotency.key(quoted(text)) == text


@given(keys.filter(lambda text: text == text.strip() and not text.startswith('"')))
def test_a_bare_text_means_itself(text):
    assert idempotency.key(text) == text


@given(st.text(max_size=300))
@hypothesis_settings(suppress_health_check=[HealthCheck.too_slow])
def test_any_header_is_a_key_or_a_bad_request(text):
    try:
        key = idempotency.key(text)
    except BadRequest:
        return
    assert key is not None
    assert 1 <= len(key) <= 255
    assert all(" " <= character <= "~" for character in key)


def _never(_result: object) -> receipts.Answer:
    raise AssertionError


def test_a_twin_of_a_running_request_is_told_to_come_back(app, client, count):
    body = dict(MESSAGE)
    key = client.get("/v1/keys").json["data"][0]["id"]
    ticket = receipts.Ticket(UUID(key), "notifications.send", "order-7", idempotency.fingerprint(body), _never)
    with receipts.running(ticket):
        twin = client.post("/v1/notifications", json=body, headers=KEY)

    assert is_problem(twin, 409)
    assert int(twin.headers["Retry-After"]) > 0
    assert count(Notification) == 0
    assert client.post("/v1/notifications", json=body, headers=KEY).status_code == 202


def test_a_receipt_is_kept_for_a_day_and_then_purged(app, client, count, at):
    client.post("/v1/notifications", json=MESSAGE, headers=KEY)
    purge = partial(receipts.purge, kept=app.extensions["postroom.policy"].receipts_kept)
    at(hours=23.9)
    transact(purge)
    assert count(Receipt) == 1
    assert client.post("/v1/notifications", json=MESSAGE, headers=KEY).headers["Idempotent-Replayed"] == "true"

    at(hours=24.1)
    assert transact(purge) == 1
    assert count(Receipt) == 0


def test_receipts_are_purged_in_bounded_turns(app, client, count, at):
    for number in range(5):
        client.post("/v1/notifications", json=MESSAGE, headers={"Idempotency-Key": str(number)})
    at(hours=25)

    gone = [transact(partial(receipts.purge, kept=timedelta(hours=24), limit=2)) for _ in range(4)]
    assert gone == [2, 2, 1, 0]


def test_erasing_a_user_erases_the_stored_answers_about_them(client, key, count):
    user = client.post("/v1/users", json=USER, headers=KEY).json
    client.post("/v1/notifications", json={**MESSAGE, "to": USER["email"]}, headers=KEY)
    users.erase(UUID(user["id"]), key=key)

    for path, body in (("/v1/users", USER), ("/v1/notifications", {**MESSAGE, "to": USER["email"]})):
        again = client.post(path, json=body, headers=KEY)
        assert is_problem(again, 410)
        assert USER["email"] not in again.text
    assert count(User) == 0


def test_the_document_tells_of_the_header_the_replay_and_the_errors(client):
    document = client.get("/openapi.json").json
    for path in ROUTES:
        operation = document["paths"][path]["post"]
        assert {"$ref": "#/components/parameters/IdempotencyKey"} in operation["parameters"]
        assert "Idempotent-Replayed" in operation["responses"]["202"]["headers"]
        assert {"400", "409", "410", "422"} <= operation["responses"].keys()
