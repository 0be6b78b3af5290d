"""Limits over HTTP: what is over a rate is 429, leaves nothing, and says when to come back."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from api.config import Settings
from api.core.models import Delivery, Notification, User
from api.core.rates import Rate
from schemas.vocabulary import Scope
from tests.rest.conftest import MESSAGE, USER, is_problem, pointers

STORES = ("memory", "database")


@pytest.fixture(params=STORES)
def settings(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    """Tight limits, counted in each of the two places."""
    return replace(settings, rate_limit="20/minute", recipient_limit="3/hour", limit_store=request.param)


def standing(answer) -> dict[str, tuple[int, int]]:
    """Return what remains and for how long, by the policies' names."""
    found = re.findall(r'"([a-z]+)";r=([0-9]+);t=([0-9]+)', answer.headers["RateLimit"])
    return {name: (int(left), int(seconds)) for name, left, seconds in found}


class TestAKey:
    def test_every_answer_tells_how_its_rate_stands(self, client):
        answers = [
            client.get("/v1/users"),
            client.post("/v1/notifications", json=MESSAGE),
            client.post("/v1/notifications", json={}),
            client.get("/v1/nothing"),
            client.delete("/v1/users"),
        ]

        assert [answer.status_code for answer in answers] == [200, 202, 422, 404, 405]
        assert [standing(answer)["default"][0] for answer in answers] == [19, 18, 17, 16, 15]
        for answer in answers:
            assert answer.headers["RateLimit-Policy"] == '"default";q=20;w=60'
            assert 1 <= standing(answer)["default"][1] <= 60

    def test_what_is_over_the_rate_is_refused_until_the_time_it_was_told(self, client, at, count):
        at(seconds=0)
        for _ in range(20):
            assert client.get("/v1/users").status_code == 200
        at(seconds=13)

        refused = client.post("/v1/notifications", json=MESSAGE)

        assert is_problem(refused, 429)
        assert refused.headers["Retry-After"] == "47"
        assert standing(refused) == {"default": (0, 47)}
        assert count(Notification) == 0
        at(seconds=59)
        assert client.get("/v1/users").status_code == 429
        at(seconds=13 + 47)
        assert client.get("/v1/users").status_code == 200

    def test_other_keys_are_served_while_one_floods(self, client, client_with):
        other = client_with(Scope.USERS_READ)
        for _ in range(30):
            client.get("/v1/users")

        assert client.get("/v1/users").status_code == 429
        assert other.get("/v1/users").status_code == 200
        assert standing(other.get("/v1/users"))["default"][0] == 18

    def test_of_many_at_once_exactly_so_many_get_through(self, app, client):
        def ask(_: int) -> int:
            return int(client.get("/v1/users").status_code)

        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(ask, range(60)))

        assert statuses.count(200) == 20
        assert statuses.count(429) == 40

    def test_what_it_may_not_do_counts_too(self, client_with):
        reader = client_with(Scope.USERS_READ)

        assert [standing(reader.delete("/v1/inbox"))["default"][0] for _ in range(3)] == [19, 18, 17]

    def test_health_and_the_explorer_have_no_limit(self, client):
        for _ in range(30):
            client.get("/v1/users")

        for path in ("/healthz", "/docs", "/openapi.json"):
            answer = client.get(path)
            assert answer.status_code == 200
            assert "RateLimit" not in answer.headers

    def test_a_stranger_is_told_nothing_of_rates(self, anonymous):
        answer = anonymous.get("/v1/users")

        assert answer.status_code == 401
        assert "RateLimit" not in answer.headers
        assert "RateLimit-Policy" not in answer.headers


class TestStrangers:
    def test_what_comes_without_a_good_key_is_bounded_and_good_keys_are_not(self, anonymous, client, monkeypatch):
        monkeypatch.setattr("api.rest.throttle.STRANGERS", Rate(5, 60))

        statuses = [anonymous.get("/v1/users").status_code for _ in range(7)]

        assert statuses == [401] * 5 + [429] * 2
        assert int(anonymous.get("/v1/users").headers["Retry-After"]) <= 60
        assert client.get("/v1/users").status_code == 200


class TestPreflights:
    @pytest.fixture
    def settings(self, settings):
        return replace(settings, rate_limit="2/minute", cors_origins=("https://app.example.org",))

    def test_they_are_never_limited_and_scripts_may_read_the_rates(self, anonymous, client):
        asked = {"Origin": "https://app.example.org", "Access-Control-Request-Method": "POST"}
        for _ in range(4):
            refused = client.get("/v1/users", headers={"Origin": "https://app.example.org"})

        assert refused.status_code == 429
        readable = refused.headers["Access-Control-Expose-Headers"]
        assert all(name in readable for name in ("RateLimit", "RateLimit-Policy", "Retry-After"))
        assert {anonymous.options("/v1/notifications", headers=asked).status_code for _ in range(20)} == {200}


class TestARecipient:
    def test_who_has_had_enough_gets_no_more_from_any_key(self, client, client_with, nothing_stored, at):
        other = client_with(Scope.NOTIFICATIONS_WRITE)
        at(seconds=0)
        for sender in (client, other, client):
            assert sender.post("/v1/notifications", json=MESSAGE).status_code == 202
        at(minutes=15)

        with nothing_stored():
            refused = other.post("/v1/notifications", json={**MESSAGE, "to": "ANN@Example.org"})

        assert is_problem(refused, 429)
        assert pointers(refused) == {"/to": "rate_limited"}
        assert refused.headers["Retry-After"] == str(45 * 60)
        assert client.post("/v1/notifications", json={**MESSAGE, "to": "bob@example.org"}).status_code == 202
        at(minutes=60)
        assert other.post("/v1/notifications", json=MESSAGE).status_code == 202

    def test_a_request_to_several_is_refused_as_a_whole_and_counts_for_nobody(self, client, nothing_stored):
        for _ in range(3):
            client.post("/v1/notifications", json=MESSAGE)
        both = {"to": ["bob@example.org", {"email": "ann@example.org"}], "bcc": "ann@example.org"}

        with nothing_stored():
            refused = client.post("/v1/notifications", json={**MESSAGE, **both})

        assert pointers(refused) == {"/to/1": "rate_limited", "/bcc": "rate_limited"}
        statuses = [
            client.post("/v1/notifications", json={**MESSAGE, "to": "bob@example.org"}).status_code for _ in range(4)
        ]
        assert statuses == [202, 202, 202, 429]

    def test_a_batch_is_refused_as_a_whole(self, client, count, app):
        messages = [{"to": f"user{number}@example.org"} for number in range(3)] + [{"to": ["ann@example.org"]}] * 4
        for on_error in ("reject_all", "accept_valid"):
            body = {"subject": "Hello", "text": "Good day.\n", "messages": messages, "on_error": on_error}
            refused = client.post("/v1/batches", json=body)

            assert is_problem(refused, 429)
            assert set(pointers(refused)) == {f"/messages/{number}/to/0" for number in range(3, 7)}
        assert count(Notification) == count(Delivery) == 0

    def test_a_replay_does_not_count(self, client):
        once = {"Idempotency-Key": "order-7"}
        answers = [client.post("/v1/notifications", json=MESSAGE, headers=once) for _ in range(6)]
        assert {answer.status_code for answer in answers} == {202}

        statuses = [client.post("/v1/notifications", json=MESSAGE).status_code for _ in range(3)]

        assert statuses == [202, 202, 429]

    def test_a_refused_request_uses_neither_the_count_nor_the_idempotency_key_up(self, client):
        once = {"Idempotency-Key": "order-7"}
        for _ in range(3):
            client.post("/v1/notifications", json={**MESSAGE, "template": "nothing"})
            client.post("/v1/notifications", json=MESSAGE)

        assert client.post("/v1/notifications", json=MESSAGE, headers=once).status_code == 429
        other = {**MESSAGE, "to": "bob@example.org"}
        assert client.post("/v1/notifications", json=other, headers=once).status_code == 202

    def test_test_mail_is_counted_apart(self, client, test_client):
        for _ in range(3):
            client.post("/v1/notifications", json=MESSAGE)

        assert client.post("/v1/notifications", json=MESSAGE).status_code == 429
        assert test_client.post("/v1/notifications", json=MESSAGE).status_code == 202

    def test_who_is_only_played_is_never_buried(self, test_client):
        played = {**MESSAGE, "to": "deferred@simulator.example"}

        assert {test_client.post("/v1/notifications", json=played).status_code for _ in range(6)} == {202}

    def test_a_registration_counts_for_the_user_and_never_for_the_administrator(self, client, count):
        for number in range(5):
            user = {"username": f"user{number}", "email": f"user{number}@example.org"}
            assert client.post("/v1/users", json=user).status_code == 202
        for _ in range(3):
            client.post("/v1/notifications", json=MESSAGE)
        before = count(User)

        refused = client.post("/v1/users", json=USER)

        assert is_problem(refused, 429)
        assert pointers(refused) == {"/email": "rate_limited"}
        assert count(User) == before

    def test_a_user_named_by_id_is_the_recipient_with_their_address(self, client):
        user = client.post("/v1/users", json=USER).json
        for _ in range(2):
            client.post("/v1/notifications", json=MESSAGE)

        refused = client.post("/v1/notifications", json={**MESSAGE, "to": [{"user_id": user["id"]}]})

        assert is_problem(refused, 429)
        assert pointers(refused) == {"/to/0": "rate_limited"}

    def test_a_batch_names_every_place_of_a_user_who_has_had_enough(self, client, count):
        user = client.post("/v1/users", json=USER).json
        for _ in range(2):
            client.post("/v1/notifications", json=MESSAGE)
        before = count(Notification)
        one = {"user_id": user["id"]}
        messages = [{"to": "bob@example.org"}, {"to": one}, {"to": ["eve@example.org", one]}, {"to": "ann@Example.org"}]

        refused = client.post("/v1/batches", json={"subject": "Hello", "text": "Good day.\n", "messages": messages})

        assert is_problem(refused, 429)
        assert int(refused.headers["Retry-After"]) > 0
        places = ["/messages/1/to", "/messages/2/to/1", "/messages/3/to"]
        assert pointers(refused) == dict.fromkeys(places, "rate_limited")
        assert count(Notification) == before


class TestSwitchedOff:
    @pytest.fixture
    def settings(self, settings):
        return replace(settings, rate_limit="off", recipient_limit="off", max_queue="off")

    def test_nothing_is_limited_and_nothing_is_told(self, client):
        answers = [client.post("/v1/notifications", json=MESSAGE) for _ in range(25)]

        assert {answer.status_code for answer in answers} == {202}
        assert not [name for name, _ in answers[-1].headers if name.startswith("RateLimit")]


class TestAFullQueue:
    @pytest.fixture
    def settings(self, settings):
        return replace(settings, rate_limit="off", recipient_limit="off", max_queue="4")

    def test_accepts_are_turned_away_and_all_else_goes_on(self, client, nothing_stored, test_client):
        sent = [client.post("/v1/notifications", json=MESSAGE).json for _ in range(4)]
        batch = {"subject": "Hello", "text": "Good day.\n", "messages": [{"to": "bob@example.org"}]}

        with nothing_stored():
            refusals = [
                client.post("/v1/notifications", json=MESSAGE),
                client.post("/v1/batches", json=batch),
                client.post("/v1/users", json=USER),
                test_client.post("/v1/notifications", json=MESSAGE),
            ]

        for refused in refusals:
            assert is_problem(refused, 503)
            assert int(refused.headers["Retry-After"]) > 0
        path = f"/v1/notifications/{sent[0]['id']}"
        assert client.get(path).status_code == 200
        assert client.post(f"{path}/cancel").status_code == 200

    def test_they_are_taken_again_as_soon_as_there_is_room(self, client, monkeypatch):
        sent = [client.post("/v1/notifications", json=MESSAGE).json for _ in range(4)]
        assert client.post("/v1/notifications", json=MESSAGE).status_code == 503
        client.post(f"/v1/notifications/{sent[0]['id']}/cancel")
        # As if the time until the next count had passed.
        monkeypatch.setattr("api.core.backlog.time.monotonic", lambda: float("inf"))

        assert client.post("/v1/notifications", json=MESSAGE).status_code == 202

    def test_an_answer_given_before_is_given_again(self, client):
        once = {"Idempotency-Key": "order-7"}
        first = client.post("/v1/notifications", json=MESSAGE, headers=once)
        for _ in range(3):
            client.post("/v1/notifications", json=MESSAGE)

        again = client.post("/v1/notifications", json=MESSAGE, headers=once)

        assert again.status_code == 202
        assert again.json["id"] == first.json["id"]

    def test_what_queues_nothing_is_still_done(self, client):
        client.post("/v1/users", json=USER)
        for _ in range(2):
            client.post("/v1/notifications", json=MESSAGE)

        known = client.post("/v1/users", json=USER)

        assert known.status_code == 200
        assert known.json["known"] is True
