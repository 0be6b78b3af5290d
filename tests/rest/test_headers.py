"""What every answer carries, and what browsers of other origins may do."""

import pytest

from api.config import Settings
from tests.rest.conftest import MESSAGE, USER, is_problem

ORIGIN = "https://app.example.org"


class TestEveryAnswer:
    @pytest.mark.parametrize("given", ["a", "0190a3c8-5c1e", "A.b_c-1", "x" * 128])
    def test_a_sane_request_id_comes_back(self, client, given):
        for path in ("/v1/users", "/v1/nothing", "/healthz", "/docs"):
            assert client.get(path, headers={"X-Request-Id": given}).headers["X-Request-Id"] == given

    @pytest.mark.parametrize("given", ["", " ", "x" * 129, "a b", "a\tb", "é", "<script>", "a;b", "a/b"])
    def test_another_one_is_replaced(self, client, given):
        answered = client.get("/v1/users", headers={"X-Request-Id": given}).headers["X-Request-Id"]

        assert answered != given
        assert len(answered) == 32

    def test_each_request_has_its_own(self, client):
        ids = {client.get("/v1/users").headers["X-Request-Id"] for _ in range(5)}

        assert len(ids) == 5

    def test_nothing_is_run_framed_sniffed_or_kept(self, client, anonymous):
        answers = [
            client.get("/v1/users"),
            client.post("/v1/users", json=USER),
            client.post("/v1/users", json={}),
            client.get("/v1/nothing"),
            anonymous.get("/v1/users"),
            anonymous.get("/healthz"),
        ]
        for answer in answers:
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert answer.headers["Cache-Control"] == "no-store"
            assert "Set-Cookie" not in answer.headers

    def test_what_has_no_content_has_no_type_of_it(self, client):
        answer = client.delete("/v1/inbox")

        assert answer.status_code == 204
        assert answer.data == b""
        assert "Content-Type" not in answer.headers


class TestWithoutOrigins:
    def test_no_other_origin_is_let_in(self, client, anonymous):
        preflight = anonymous.options("/v1/users", headers={"Origin": ORIGIN, "Access-Control-Request-Method": "POST"})

        assert is_problem(preflight, 401)
        for answer in (preflight, client.get("/v1/users", headers={"Origin": ORIGIN})):
            assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]


class TestWithOrigins:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return Settings(
            database_url=settings.database_url, sender=settings.sender, cors_origins=(ORIGIN, "http://[::1]:3000")
        )

    @pytest.mark.parametrize("origin", [ORIGIN, "http://[::1]:3000"])
    def test_a_listed_origin_may_ask_what_it_may_send_without_a_key(self, anonymous, origin):
        answer = anonymous.options(
            "/v1/notifications",
            headers={
                "Origin": origin,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization, content-type, idempotency-key, x-evil",
            },
        )

        assert answer.status_code == 200
        assert answer.headers["Access-Control-Allow-Origin"] == origin
        assert "POST" in answer.headers["Access-Control-Allow-Methods"]
        assert answer.headers["Access-Control-Allow-Headers"] == "authorization, content-type, idempotency-key"
        assert "Access-Control-Allow-Credentials" not in answer.headers
        assert "Origin" in answer.headers["Vary"]

    @pytest.mark.parametrize(
        "origin",
        [
            "https://evil.example",
            f"{ORIGIN}.evil.example",
            "https://appXexample.org",
            "http://app.example.org",
            "null",
            f"{ORIGIN}:8443",
        ],
    )
    def test_another_origin_is_not_let_in(self, client, anonymous, origin):
        headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        for answer in (anonymous.options("/v1/users", headers=headers), client.get("/v1/users", headers=headers)):
            assert "Access-Control-Allow-Origin" not in answer.headers

    def test_a_preflight_is_never_an_answer_to_a_question(self, anonymous):
        answer = anonymous.options("/v1/users", headers={"Origin": ORIGIN, "Access-Control-Request-Method": "GET"})

        assert answer.data == b""

    def test_the_script_may_read_the_headers_it_needs_on_answers_and_errors_alike(self, client, anonymous):
        headers = {"Origin": ORIGIN}
        for answer in (
            client.post("/v1/notifications", json=MESSAGE, headers=headers),
            client.post("/v1/notifications", json={}, headers=headers),
            anonymous.get("/v1/users", headers=headers),
            client.get("/v1/nothing", headers=headers),
        ):
            assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
            assert set(answer.headers["Access-Control-Expose-Headers"].split(", ")) >= {
                "ETag",
                "Idempotent-Replayed",
                "Link",
                "Location",
                "Preference-Applied",
                "RateLimit",
                "RateLimit-Policy",
                "Retry-After",
                "WWW-Authenticate",
                "X-Request-Id",
            }

    def test_a_key_is_still_needed(self, anonymous):
        assert is_problem(anonymous.get("/v1/users", headers={"Origin": ORIGIN}), 401)

    def test_without_an_origin_nothing_is_said_of_any(self, client):
        assert "Access-Control-Allow-Origin" not in client.get("/v1/users").headers


def test_what_is_to_follow_an_answer_follows_that_to_a_post_too(client, app):
    from flask import after_this_request  # noqa: PLC0415 -- of this test alone

    done = []

    @app.before_request
    def have_it_follow():
        @after_this_request
        def note(response):
            response.call_on_close(lambda: done.append(response.status_code))
            return response

    answer = client.post("/v1/notifications", json=MESSAGE)
    answer.close()
    assert done == [202]
