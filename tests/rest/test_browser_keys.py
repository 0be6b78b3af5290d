"""Browser keys over HTTP: two requests from listed origins, nothing else, and no word of users they did not make."""

from dataclasses import replace
from uuid import uuid4

import pytest

from api.config import Settings
from api.core import keys
from api.core.models import Notification, User
from schemas.vocabulary import Mode, Scope
from tests.rest.conftest import FULL_USER, MESSAGE, USER, Client, is_problem, pointers

ORIGIN = "https://app.example.org"
NOBODY = "0190a3c8-5c1e-7d2a-9b60-2f4c8e1a7b01"
KEY = {"name": "page", "origins": [ORIGIN, "http://localhost:3000"], "templates": ["welcome"]}
ANN = {"username": "ann", "name": "Ann", "email": "ann@example.org"}
WELCOME = {"template": "welcome", "data": {"user": ANN}}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, browser_rate_limit="off", cors_origins=("https://desk.example.org",))


@pytest.fixture
def page_with(app, client):
    """Make a client that holds a new browser key and comes from one of its origins."""

    def page_with(**more):
        made = client.post("/v1/keys", json={**KEY, **more})
        assert made.status_code == 201, made.text
        app.test_client_class = Client
        page = app.test_client()
        page.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {made.json['key']}"
        page.environ_base["HTTP_ORIGIN"] = ORIGIN
        return page

    return page_with


@pytest.fixture
def page(page_with):
    """A page with a live browser key."""
    return page_with()


@pytest.fixture
def ann(page):
    """A user whom the page has registered."""
    answer = page.post("/v1/users", json=USER)
    assert answer.status_code == 202, answer.text
    return answer.json


class TestMaking:
    def test_origins_make_a_browser_key_which_is_shown_once_and_listed(self, client):
        made = client.post("/v1/keys", json=KEY)

        assert made.status_code == 201
        assert made.json["key"].startswith("pr_pub_")
        assert (made.json["scopes"], made.json["templates"], made.json["mode"]) == ([], ["welcome"], "live")
        assert made.json["origins"] == sorted(KEY["origins"])
        listed = client.get("/v1/keys").json["data"][0]
        assert listed == {name: value for name, value in made.json.items() if name != "key"}

    def test_it_may_have_no_templates_and_be_of_test_mode(self, client):
        body = {"name": "page", "origins": [ORIGIN], "mode": "test"}
        made = client.post("/v1/keys", json=body)

        assert (made.json["templates"], made.json["mode"]) == ([], "test")
        found = keys.authenticate(made.json["key"])
        assert found is not None
        assert found.mode is Mode.TEST

    def test_another_key_has_neither_origins_nor_templates(self, client):
        made = client.post("/v1/keys", json={"name": "shop", "scopes": ["users:read"]}).json

        assert (made["origins"], made["templates"]) == (None, None)

    def test_only_an_administrator_makes_one_and_a_test_key_only_for_tests(self, client_with, test_client):
        others = client_with(*(scope for scope in Scope if scope is not Scope.ADMIN))

        assert is_problem(others.post("/v1/keys", json=KEY), 403)
        assert is_problem(test_client.post("/v1/keys", json={**KEY, "mode": "live"}), 403)
        assert test_client.post("/v1/keys", json=KEY).json["mode"] == "test"

    def test_a_revoked_one_is_401_like_any_other(self, client, page):
        client.delete(f"/v1/keys/{client.get('/v1/keys').json['data'][0]['id']}")

        assert is_problem(page.post("/v1/users", json=USER), 401)


class TestOrigins:
    @pytest.mark.parametrize("origin", KEY["origins"])
    def test_its_own_origins_are_let_in_and_may_read_the_answer(self, page, origin):
        for body in (USER, {}):
            answer = page.post("/v1/users", json=body, headers={"Origin": origin})

            assert answer.status_code in (202, 422)
            assert answer.headers["Access-Control-Allow-Origin"] == origin
            assert "Origin" in answer.headers["Vary"]

    @pytest.mark.parametrize(
        "origin",
        [
            "https://evil.example",
            "null",
            "*",
            "",
            "https://desk.example.org",  # configured, but not the key's
            f"{ORIGIN}:8443",
            f"{ORIGIN}/",
            f"{ORIGIN}.evil.example",
            ORIGIN.upper(),
            "http://app.example.org",
            "http://localhost:3001",
            f"{ORIGIN}, https://evil.example",
        ],
    )
    def test_every_other_origin_is_403_and_may_not_read_that(self, page, nothing_stored, origin):
        with nothing_stored():
            answer = page.post("/v1/users", json=USER, headers={"Origin": origin})

            assert is_problem(answer, 403)
        assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]

    def test_without_an_origin_it_is_403(self, page, nothing_stored):
        del page.environ_base["HTTP_ORIGIN"]
        with nothing_stored():
            assert is_problem(page.post("/v1/users", json=USER), 403)

    def test_a_preflight_of_a_keys_origin_is_answered(self, page, anonymous):
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        for origin in (*KEY["origins"], "https://desk.example.org"):
            answer = anonymous.options("/v1/users", headers={"Origin": origin, **asked})

            assert answer.status_code == 200
            assert answer.headers["Access-Control-Allow-Origin"] == origin
            assert "POST" in answer.headers["Access-Control-Allow-Methods"]
        stranger = anonymous.options("/v1/users", headers={"Origin": "https://evil.example", **asked})
        assert "Access-Control-Allow-Origin" not in stranger.headers

    def test_once_the_key_is_revoked_its_origin_is_a_strangers(self, client, page, anonymous):
        client.delete(f"/v1/keys/{client.get('/v1/keys').json['data'][0]['id']}")
        asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}

        assert "Access-Control-Allow-Origin" not in anonymous.options("/v1/users", headers=asked).headers

    def test_another_key_gains_nothing_from_a_browser_keys_origin(self, page, client):
        answer = client.get("/v1/users", headers={"Origin": ORIGIN})

        assert answer.status_code == 200
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_without_configured_origins_a_browser_key_is_enough(app, page_with, anonymous):
    page = page_with()
    preflight = anonymous.options("/v1/users", headers={"Origin": ORIGIN, "Access-Control-Request-Method": "POST"})

    assert preflight.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert page.post("/v1/users", json=USER).status_code == 202


class TestRegistering:
    def test_a_new_user_is_registered_and_their_notices_are_queued(self, page, client):
        answer = page.post("/v1/users", json=USER)

        assert answer.status_code == 202
        assert answer.json["known"] is False
        assert {one["template"] for one in answer.json["notifications"]} == {"new_user", "welcome"}
        assert client.get(f"/v1/users/{answer.json['id']}").json["email"] == USER["email"]

    @pytest.mark.parametrize("by", ["client", "page"])
    def test_a_known_user_is_200_and_the_answer_tells_nothing_new(self, page, client, request, by, count):
        known = request.getfixturevalue(by).post("/v1/users", json={**FULL_USER, "name": "Ann Secret"})
        assert known.status_code == 202
        before = count(Notification)
        answer = page.post("/v1/users", json={"username": "ANN", "email": "Ann@Example.org", "name": "Eve"})

        assert answer.status_code == 200
        assert answer.json == {
            "id": None,
            "username": "ANN",
            "email": "Ann@Example.org",
            "name": None,
            "locale": None,
            "metadata": {},
            "created_at": None,
            "updated_at": None,
            "known": True,
            "notifications": [],
        }
        assert "Content-Location" not in answer.headers
        assert known.json["id"] not in answer.text + str(answer.headers)
        assert count(Notification) == before

    @pytest.mark.parametrize(
        ("body", "place"),
        [({"username": "ann", "email": "eve@example.org"}, "/username"), ({**USER, "username": "eve"}, "/email")],
    )
    def test_what_is_taken_is_409_with_the_place_and_no_more(self, page, client, body, place):
        known = client.post("/v1/users", json=FULL_USER).json
        answer = page.post("/v1/users", json=body)

        assert is_problem(answer, 409)
        assert pointers(answer) == {place: "taken"}
        assert known["id"] not in answer.text

    def test_the_same_request_again_under_its_name_is_carried_out_once(self, page, count):
        answers = [page.post("/v1/users", json=USER, headers={"Idempotency-Key": "a"}) for _ in range(2)]

        assert [answer.status_code for answer in answers] == [202, 202]
        assert answers[1].headers["Idempotent-Replayed"] == "true"
        assert count(User) == 1


class TestSending:
    @pytest.mark.parametrize(
        "to", ["ann@example.org", ["ANN@example.org"], {"email": "ann@example.org", "name": "Ann"}]
    )
    def test_a_listed_template_goes_to_who_was_just_registered(self, page, ann, to):
        answer = page.post("/v1/notifications", json={**WELCOME, "to": to, "locale": "en"})

        assert answer.status_code == 202
        assert answer.json["template"]["name"] == "welcome"
        assert answer.json["deliveries"][0]["recipient"].lower() == "ann@example.org"

    def test_to_a_users_id_it_goes_too_and_their_address_is_not_told(self, page, client):
        user = client.post("/v1/users", json=USER).json
        answer = page.post("/v1/notifications", json={**WELCOME, "to": {"user_id": user["id"]}})

        assert answer.status_code == 202
        assert answer.json["deliveries"][0]["recipient"] == "[hidden]"
        kept = client.get(f"/v1/notifications/{answer.json['id']}").json
        assert kept["deliveries"][0]["recipient"] == "ann@example.org"

    def test_with_a_token_a_page_follows_its_own_message_and_may_read_the_answer(self, page, ann, anonymous):
        sent = page.post("/v1/notifications", json={**WELCOME, "to": "ann@example.org", "status_token": True}).json
        where = f"/v1/notifications/{sent['id']}?token={sent['status_token']}"
        answer = anonymous.get(where, headers={"Origin": ORIGIN})

        assert answer.status_code == 200
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        stranger = anonymous.get(where, headers={"Origin": "https://evil.example"})
        assert "Access-Control-Allow-Origin" not in stranger.headers

    def test_for_a_users_id_there_is_no_token_which_would_tell_their_address(self, page, client, nothing_stored):
        user = client.post("/v1/users", json=USER).json
        body = {**WELCOME, "to": [{"user_id": user["id"]}], "status_token": True}
        with nothing_stored():
            answer = page.post("/v1/notifications", json=body)

            assert is_problem(answer, 403)
        assert pointers(answer) == {"/status_token": "not_allowed"}
        assert USER["email"] not in answer.text

    def test_its_status_is_not_the_keys_to_read(self, page, ann):
        sent = page.post("/v1/notifications", json={**WELCOME, "to": "ann@example.org"}).json

        assert is_problem(page.get(f"/v1/notifications/{sent['id']}"), 403)

    @pytest.mark.parametrize(
        ("more", "places"),
        [
            ({"to": "eve@example.org"}, {"/to"}),
            ({"to": {"user_id": NOBODY}}, {"/to"}),
            ({"to": ["ann@example.org", "eve@example.org"]}, {"/to"}),
            ({"to": ["ann@example.org", "ann@example.org"]}, {"/to"}),
            ({"to": []}, {"/to"}),
            ({"template": "new_user"}, {"/template"}),
            ({"template": "nothing"}, {"/template"}),
            ({"template": "../welcome"}, {"/template"}),
            ({"cc": "ann@example.org"}, {"/cc"}),
            ({"bcc": []}, {"/bcc"}),
            ({"from": "postroom@example.org"}, {"/from"}),
            ({"reply_to": "eve@example.org"}, {"/reply_to"}),
            ({"subject": "Buy now"}, {"/subject"}),
            ({"headers": {"X-A": "b"}}, {"/headers"}),
            ({"attachments": []}, {"/attachments"}),
            ({"send_at": "2027-01-01T09:00:00Z"}, {"/send_at"}),
            ({"expires_at": "2027-01-01T09:00:00Z"}, {"/expires_at"}),
            ({"tags": []}, {"/tags"}),
            ({"metadata": {}}, {"/metadata"}),
            ({"cc": "a@example.org", "subject": "x", "tags": ["x"]}, {"/cc", "/subject", "/tags"}),
        ],
        ids=lambda value: "-".join(sorted(value)),
    )
    def test_whatever_else_is_asked_for_is_403_with_the_place(self, page, ann, nothing_stored, more, places):
        with nothing_stored():
            answer = page.post("/v1/notifications", json={**WELCOME, "to": "ann@example.org", **more})

            assert is_problem(answer, 403)
        assert pointers(answer) == dict.fromkeys(places, "not_allowed")

    def test_written_out_mail_is_403(self, page, ann, nothing_stored):
        with nothing_stored():
            assert is_problem(page.post("/v1/notifications", json={**MESSAGE, "html": "<b>x</b>"}), 403)

    def test_the_unknown_the_known_and_the_recent_of_others_get_the_same_answer(self, page, page_with, client):
        page_with(name="other").post("/v1/users", json={"username": "bob", "email": "bob@example.org"})
        client.post("/v1/users", json={"username": "eve", "email": "eve@example.org"})
        answers = [
            page.post("/v1/notifications", json={**WELCOME, "to": to})
            for to in ("bob@example.org", "eve@example.org", "nobody@example.org", {"user_id": str(uuid4())})
        ]

        assert {answer.status_code for answer in answers} == {403}
        assert len({answer.text for answer in answers}) == 1

    def test_a_missing_variable_is_the_same_422_as_for_others(self, page, ann):
        answer = page.post("/v1/notifications", json={"template": "welcome", "to": "ann@example.org", "data": {}})

        assert is_problem(answer, 422)
        assert set(pointers(answer).values()) == {"missing_variable"}

    def test_markup_in_its_data_is_escaped(self, page, client, ann):
        data = {"user": {**ANN, "name": "<b>Ann</b> {{7*7}}"}}
        sent = page.post("/v1/notifications", json={**WELCOME, "to": "ann@example.org", "data": data}).json

        shown = client.get(f"/v1/notifications/{sent['id']}/content").json
        assert "&lt;b&gt;Ann&lt;/b&gt;" in shown["html"]
        assert "{{7*7}}" in shown["text"]


class TestNothingElse:
    def test_every_other_route_is_403(self, app, page):
        for rule in app.url_map.iter_rules():
            path = rule.rule
            for argument in rule.arguments:
                path = path.replace(f"<uuid:{argument}>", str(uuid4())).replace(f"<{argument}>", "x")
                path = path.replace(f"<path:{argument}>", "x").replace(f"<string:{argument}>", "x")
            may = {"OPTIONS", "POST"} if path in ("/v1/users", "/v1/notifications") else {"OPTIONS"}
            for method in (rule.methods or set()) - may if path.startswith("/v1/") else ():
                answer = page.open(path, method=method, json={})
                assert answer.status_code == 403, (method, path)
                assert answer.content_type == "application/problem+json"

    def test_what_is_not_there_is_403_as_well(self, page):
        assert is_problem(page.get("/v1/nothing"), 403)
        assert is_problem(page.put("/v1/users", json=USER), 403)

    def test_it_is_no_key_in_a_query_or_body(self, page, anonymous):
        secret = page.environ_base["HTTP_AUTHORIZATION"].removeprefix("Bearer ")
        headers = {"Origin": ORIGIN}

        assert is_problem(anonymous.post(f"/v1/users?key={secret}", json=USER, headers=headers), 401)


class TestRate:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, browser_rate_limit="3/minute")

    def test_one_client_is_slowed_down_and_others_are_served(self, page, client, at):
        at(seconds=0)
        answers = [page.post("/v1/users", json={}) for _ in range(4)]

        assert [answer.status_code for answer in answers] == [422, 422, 422, 429]
        assert is_problem(answers[3], 429)
        assert 0 < int(answers[3].headers["Retry-After"]) <= 60
        assert '"browser";q=3;w=60' in answers[3].headers["RateLimit-Policy"]
        assert answers[3].headers["Access-Control-Allow-Origin"] == ORIGIN
        elsewhere = {"REMOTE_ADDR": "192.0.2.7"}
        assert page.post("/v1/users", json={}, environ_base=elsewhere).status_code == 422
        assert client.get("/v1/users").status_code == 200
        at(seconds=61)
        assert page.post("/v1/users", json={}).status_code == 422

    def test_a_network_of_ipv6_counts_as_one_client(self, page):
        answers = [
            page.post("/v1/users", json={}, environ_base={"REMOTE_ADDR": f"2001:db8::{number}"}).status_code
            for number in range(1, 6)
        ]

        assert answers == [422, 422, 422, 429, 429]

    def test_another_key_counts_for_itself_and_a_forwarded_address_for_nothing(self, page, page_with):
        for number in range(4):
            last = page.post("/v1/users", json={}, headers={"X-Forwarded-For": f"192.0.2.{number}"})

        assert last.status_code == 429
        assert page_with(name="other").post("/v1/users", json={}).status_code == 422

    def test_preflights_cost_nothing(self, page, anonymous):
        asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
        assert {anonymous.options("/v1/users", headers=asked).status_code for _ in range(10)} == {200}
        assert page.post("/v1/users", json={}).status_code == 422
