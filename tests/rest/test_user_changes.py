"""/v1/users/{id}: reading, changing and erasing, sentence by sentence of the contract."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.rest.conftest import FULL_USER, USER, authorization, is_problem, pointers

#: A test's fixtures are one for all of its examples, and each database has an instance of its class.
_BY_PYTEST = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]


@pytest.fixture
def ann(client):
    """A registered user, as the answer to asking for her."""
    return client.get(client.post("/v1/users", json=FULL_USER).headers["Content-Location"])


class TestReading:
    def test_a_user_has_a_strong_etag(self, ann):
        assert ann.status_code == 200
        assert ann.headers["ETag"] == '"1"'

    @pytest.mark.parametrize("tags", ['"1"', 'W/"1"', '"0", "1"', "*"])
    def test_who_knows_the_state_is_told_304(self, client, ann, tags):
        answer = client.get(f"/v1/users/{ann.json['id']}", headers={"If-None-Match": tags})

        assert answer.status_code == 304
        assert answer.data == b""
        assert answer.headers["ETag"] == '"1"'
        assert "Content-Type" not in answer.headers

    @pytest.mark.parametrize("tags", ['"2"', "", '"', '"0", "2"', "x", '"1x"'])
    def test_who_knows_another_state_gets_the_user(self, client, ann, tags):
        answer = client.get(f"/v1/users/{ann.json['id']}", headers={"If-None-Match": tags})

        assert answer.status_code == 200

    def test_an_unknown_user_is_404(self, client):
        assert is_problem(client.get(f"/v1/users/{uuid4()}"), 404)


class TestChanging:
    def test_what_is_given_changes_and_the_rest_stays(self, client, ann):
        answer = client.patch(f"/v1/users/{ann.json['id']}", json={"name": "Ann Smith"}, headers={"If-Match": '"1"'})

        assert answer.status_code == 200
        assert answer.headers["ETag"] == '"2"'
        unchanged = ("username", "email", "locale", "metadata", "created_at")
        assert {name: answer.json[name] for name in unchanged} == {name: ann.json[name] for name in unchanged}
        assert answer.json["name"] == "Ann Smith"
        assert client.get(f"/v1/users/{ann.json['id']}").json == answer.json

    def test_every_field_can_be_changed(self, client, ann):
        change = {"username": "anna", "email": "anna@example.net", "name": "A", "locale": "fr", "metadata": {"x": 1}}

        answer = client.patch(f"/v1/users/{ann.json['id']}", json=change, headers={"If-Match": "*"})

        assert {name: answer.json[name] for name in change} == change
        assert client.post("/v1/users", json={"username": "ann", "email": "ann@example.org"}).status_code == 202

    def test_null_takes_a_name_and_a_locale_away(self, client, ann):
        answer = client.patch(
            f"/v1/users/{ann.json['id']}", json={"name": None, "locale": None}, headers={"If-Match": "*"}
        )

        assert (answer.json["name"], answer.json["locale"]) == (None, None)

    @pytest.mark.parametrize("field", ["username", "email", "metadata"])
    def test_null_takes_nothing_else_away(self, client, ann, field):
        answer = client.patch(f"/v1/users/{ann.json['id']}", json={field: None}, headers={"If-Match": "*"})

        assert is_problem(answer, 422)
        assert pointers(answer) == {f"/{field}": "null"}

    def test_a_change_of_nothing_is_422(self, client, ann):
        answer = client.patch(f"/v1/users/{ann.json['id']}", json={}, headers={"If-Match": "*"})

        assert is_problem(answer, 422)
        assert pointers(answer) == {"": "required"}

    @pytest.mark.parametrize("headers", [{}, {"If-Unmodified-Since": "Fri, 01 Jan 2027 00:00:00 GMT"}])
    def test_without_a_version_it_is_428(self, client, ann, headers):
        answer = client.patch(f"/v1/users/{ann.json['id']}", json={"name": "x"}, headers=headers)

        assert is_problem(answer, 428)
        assert client.get(f"/v1/users/{ann.json['id']}").json == ann.json

    @pytest.mark.parametrize(
        "tag", ['"0"', '"2"', 'W/"1"', '"x"', '"01"', '"\u00b2"', "", '""', ",", 'W/""', '"' + "9" * 100 + '"']
    )
    def test_with_another_version_it_is_412(self, client, ann, tag):
        answer = client.patch(f"/v1/users/{ann.json['id']}", json={"name": "x"}, headers={"If-Match": tag})

        assert is_problem(answer, 412)
        assert client.get(f"/v1/users/{ann.json['id']}").json == ann.json

    @settings(suppress_health_check=_BY_PYTEST, max_examples=60, deadline=None)
    @given(tags=st.text(st.sampled_from('"W/,* 1x\u00e9'), max_size=8))
    def test_no_tag_whatever_is_a_fault_of_the_server(self, client, tags):
        path, headers = f"/v1/users/{uuid4()}", {"If-Match": tags, "If-None-Match": tags}

        assert client.get(path, headers=headers).status_code == 404
        assert client.patch(path, json={"name": "x"}, headers=headers).status_code in (400, 404)
        assert client.delete(path, headers=headers).status_code in (400, 404)

    def test_more_than_one_version_is_400(self, client, ann):
        answer = client.patch(f"/v1/users/{ann.json['id']}", json={"name": "x"}, headers={"If-Match": '"1", "2"'})

        assert is_problem(answer, 400)

    def test_of_many_who_change_the_same_state_one_does(self, app, client, ann):
        headers = {**authorization(client), "If-Match": '"1"'}

        def change(number):
            path = f"/v1/users/{ann.json['id']}"
            return app.test_client().patch(path, json={"name": str(number)}, headers=headers).status_code

        with ThreadPoolExecutor(8) as pool:
            statuses = sorted(pool.map(change, range(12)))

        assert statuses == [200] + [412] * 11

    def test_what_belongs_to_somebody_else_is_409_with_the_pointer(self, client, ann):
        client.post("/v1/users", json={"username": "bob", "email": "bob@example.org"})
        for change, found in [
            ({"username": "BOB"}, {"/username": "taken"}),
            ({"email": "Bob@example.org"}, {"/email": "taken"}),
            ({"username": "bob", "email": "bob@example.org"}, {"/username": "taken", "/email": "taken"}),
        ]:
            answer = client.patch(f"/v1/users/{ann.json['id']}", json=change, headers={"If-Match": "*"})
            assert is_problem(answer, 409)
            assert pointers(answer) == found

    def test_ones_own_name_in_another_spelling_is_free(self, client, ann):
        answer = client.patch(f"/v1/users/{ann.json['id']}", json={"username": "ANN"}, headers={"If-Match": "*"})

        assert answer.json["username"] == "ANN"

    def test_an_address_that_cannot_be_written_to_is_422(self, client, ann):
        answer = client.patch(f"/v1/users/{ann.json['id']}", json={"email": "a@b.c_d"}, headers={"If-Match": "*"})

        assert is_problem(answer, 422)
        assert pointers(answer) == {"/email": "invalid_address"}

    def test_an_unknown_user_is_404(self, client):
        for tag in ("*", '"1"', '"x"'):
            assert is_problem(client.patch(f"/v1/users/{uuid4()}", json={"name": "x"}, headers={"If-Match": tag}), 404)


class TestErasing:
    def test_a_user_is_gone_and_their_queued_mail_is_cancelled(self, client, ann):
        registered = client.get("/v1/notifications?template=welcome").json["data"][0]

        answer = client.delete(f"/v1/users/{ann.json['id']}")

        assert answer.status_code == 204
        assert is_problem(client.get(f"/v1/users/{ann.json['id']}"), 404)
        status = client.get(f"/v1/notifications/{registered['id']}").json
        assert status["status"] == "cancelled"
        assert status["subject"] is None
        assert "ann@example.org" not in str(status)

    def test_who_erases_a_stale_state_is_told_412(self, client, ann):
        path = f"/v1/users/{ann.json['id']}"

        assert is_problem(client.delete(path, headers={"If-Match": '"2"'}), 412)
        assert client.delete(path, headers={"If-Match": '"1"'}).status_code == 204

    def test_an_unknown_user_is_404(self, client, ann):
        client.delete(f"/v1/users/{ann.json['id']}")

        assert is_problem(client.delete(f"/v1/users/{ann.json['id']}"), 404)

    def test_the_name_and_the_address_are_free_again(self, client, ann):
        client.delete(f"/v1/users/{ann.json['id']}")

        assert client.post("/v1/users", json=USER).status_code == 202
