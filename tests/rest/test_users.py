"""/v1/users, sentence by sentence of the contract."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID

import pytest

from api.config import Settings
from api.core import users
from api.core.models import Capture, Delivery, Notification, User
from tests.rest.conftest import FULL_USER, USER, authorization, is_problem, pointers


class TestRegistering:
    def test_a_new_user_is_answered_202_with_what_was_queued(self, client):
        answer = client.post("/v1/users", json=FULL_USER)

        assert answer.status_code == 202
        body = answer.json
        assert {name: body[name] for name in FULL_USER} == FULL_USER
        assert UUID(body["id"]).version == 7
        assert body["known"] is False
        assert [(one["template"], one["status"]) for one in body["notifications"]] == [
            ("new_user", "queued"),
            ("welcome", "queued"),
        ]
        assert answer.headers["Location"] == body["notifications"][0]["url"]
        assert answer.headers["Content-Location"] == f"http://127.0.0.1:8000/v1/users/{body['id']}"
        assert int(answer.headers["Retry-After"]) > 0

    def test_the_location_is_the_status_of_the_notice(self, client):
        answer = client.post("/v1/users", json=USER)

        status = client.get(answer.headers["Location"]).json
        assert status["id"] == answer.json["notifications"][0]["id"]
        assert status["template"]["name"] == "new_user"
        assert [one["recipient"] for one in status["deliveries"]] == ["admin@example.org"]

    def test_the_content_location_is_the_user(self, client):
        answer = client.post("/v1/users", json=FULL_USER)

        user = client.get(answer.headers["Content-Location"]).json
        assert user.items() <= answer.json.items()
        assert answer.json.keys() - user.keys() == {"known", "notifications"}

    def test_times_are_utc_and_end_in_z(self, client):
        created = client.post("/v1/users", json=USER).json["created_at"]

        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", created)

    def test_the_same_again_is_200_known_and_no_mail(self, client, count):
        first = client.post("/v1/users", json=USER).json
        before = count(Notification)

        again = client.post("/v1/users", json={"username": "ANN", "email": "Ann@Example.ORG", "name": "Other"})

        assert again.status_code == 200
        assert again.json["known"] is True
        assert again.json["notifications"] == []
        assert again.json["id"] == first["id"]
        assert again.json["name"] is None
        assert "Location" not in again.headers
        assert count(Notification) == before

    @pytest.mark.parametrize(
        ("other", "found"),
        [
            ({"username": "Ann", "email": "bob@example.org"}, {"/username": "taken"}),
            ({"username": "bob", "email": "ANN@example.org"}, {"/email": "taken"}),
            ({"username": "\uff21nn", "email": "bob@example.org"}, {"/username": "taken"}),
        ],
        ids=["username", "email", "full width"],
    )
    def test_what_belongs_to_somebody_else_is_409_with_the_pointer(self, client, nothing_stored, other, found):
        client.post("/v1/users", json=USER)
        with nothing_stored():
            answer = client.post("/v1/users", json=other)

            assert is_problem(answer, 409)
            assert pointers(answer) == found

    def test_a_name_of_one_and_an_address_of_another_are_both_named(self, client):
        client.post("/v1/users", json=USER)
        client.post("/v1/users", json={"username": "bob", "email": "bob@example.org"})

        answer = client.post("/v1/users", json={"username": "ann", "email": "bob@example.org"})

        assert pointers(answer) == {"/username": "taken", "/email": "taken"}

    def test_an_international_domain_is_kept_in_its_ascii_form(self, client):
        answer = client.post("/v1/users", json={**USER, "email": "ann@straße.example.org"})

        assert answer.json["email"] == "ann@xn--strae-oqa.example.org"

    def test_a_name_in_any_script_is_kept(self, client):
        name = 'Żółć 李 \u05d0\u05d1 👩‍🔬 O\'Neil, "Jr." <x@y.z>'

        assert client.post("/v1/users", json={**USER, "username": "李-zażółć", "name": name}).json["name"] == name

    def test_many_at_once_make_one_user_and_one_set_of_notices(self, app, client_with, client, count):
        def register(_number):
            return app.test_client().post("/v1/users", json=USER, headers=authorization(client)).status_code

        with ThreadPoolExecutor(8) as pool:
            statuses = sorted(pool.map(register, range(16)))

        assert statuses == [200] * 15 + [202]
        assert count(User) == 1
        assert count(Notification) == 2

    def test_of_many_who_want_one_name_at_once_one_gets_it(self, app, client, count):
        def register(number):
            body = {"username": "ann", "email": f"ann{number}@example.org"}
            answer = app.test_client().post("/v1/users", json=body, headers=authorization(client))
            return answer.status_code, answer.json.get("errors")

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(register, range(16)))

        assert sorted(status for status, _ in answers) == [202] + [409] * 15
        assert all([one["pointer"] for one in errors] == ["/username"] for status, errors in answers if status == 409)
        assert count(User) == 1
        assert count(Delivery) == 2


class TestRegisteringWithNothingToSend:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, admin=None, welcome=False)

    def test_a_new_user_is_answered_201(self, client, count):
        answer = client.post("/v1/users", json=USER)

        assert answer.status_code == 201
        assert answer.json["known"] is False
        assert answer.json["notifications"] == []
        assert client.get(answer.headers["Location"]).json["id"] == answer.json["id"]
        assert count(Notification) == 0


class TestRegisteringWithoutASender:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, sender=None)

    def test_nothing_is_stored_when_the_notices_cannot_be(self, client, nothing_stored):
        with nothing_stored():
            answer = client.post("/v1/users", json=USER)

        assert is_problem(answer, 503)
        assert "the operator must set POSTROOM_SENDER" in answer.json["detail"]
        assert answer.headers["Retry-After"] == "60"


class TestRegisteringWithoutASenderOrANotice:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, sender=None, admin=None, welcome=False)

    def test_there_is_nothing_to_send_and_so_nothing_amiss(self, client):
        assert client.post("/v1/users", json=USER).status_code == 201


def test_test_keys_register_users_of_their_own(client, test_client, count):
    assert client.post("/v1/users", json=USER).status_code == 202
    assert test_client.post("/v1/users", json=USER).status_code == 202
    assert count(User) == 2
    assert count(Capture) == 0


def test_the_comparable_form_of_every_accepted_name_fits_its_column(client):
    longest = "\ufdfa" * 14  # one letter that stands for eighteen

    assert client.post("/v1/users", json={**USER, "username": longest}).status_code == 202
    assert len(users.username_key(longest)) <= User.username_key.type.length


@pytest.mark.parametrize("domain", ["яндекс.com", "ор.рф", "παράδειγμα.gr", "bücher.example", "日本.example"])
def test_a_domain_in_another_script_that_does_not_pose_as_latin_is_taken(client, domain):
    assert client.post("/v1/users", json={**USER, "email": f"ann@{domain}"}).status_code == 202
