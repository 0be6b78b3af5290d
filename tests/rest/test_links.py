"""Hosts that are not ours are refused, and no answer ever repeats one."""

import pytest

from api.config import Settings
from tests.rest.conftest import MESSAGE, USER, is_problem

PUBLIC = "https://mail.example.org/post"
OURS = {"Host": "mail.example.org"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return Settings(
        database_url=settings.database_url,
        sender="Postroom <postroom@example.org>",
        public_url=PUBLIC,
        trusted_hosts=("inner.example.net", ".pool.example.net", "[fd00::7]"),
    )


@pytest.mark.parametrize(
    "host",
    [
        "mail.example.org",
        "MAIL.example.org",
        "mail.example.org:8443",
        "mail.example.org.",
        "inner.example.net",
        "a.pool.example.net",
        "a.b.pool.example.net",
        "[fd00::7]:80",
    ],
)
def test_our_own_names_are_answered(client, host):
    assert client.get("/v1/users", headers={"Host": host}).status_code == 200


@pytest.mark.once
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost",
        "127.0.0.1",
        "mail.example.org.evil.example",
        "evilmail.example.org",
        "pool.example.net.evil.example",
        "mail.example.org@evil.example",
        "mail.example.org/",
        "mail.example.org:x",
        "mail.example.org evil.example",
        "mail.example.org,evil.example",
        "[::1]",
        "[fd00::8]",
        "é.example",
        "a" * 5000,
    ],
)
def test_other_names_are_400_and_not_repeated(client, host):
    answer = client.get("/v1/users", headers={"Host": host})

    assert is_problem(answer, 400)
    assert "evil" not in answer.text + str(answer.headers)


def test_a_monitor_may_ask_by_any_name(anonymous):
    for host in ("10.0.0.7:8000", "localhost", "evil.example"):
        assert anonymous.get("/healthz", headers={"Host": host}).status_code == 200
        assert anonymous.get("/readyz", headers={"Host": host}).status_code in (200, 503)


def test_every_link_begins_with_the_public_url_whatever_the_request_says(client):
    spoof = {
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "gopher",
        "X-Forwarded-Prefix": "/evil",
        "X-Forwarded-Port": "666",
        "Forwarded": "host=evil.example",
        "X-Original-URL": "/evil",
        "X-Host": "evil.example",
        "Host": "inner.example.net:666",
    }
    for number in range(2):
        registered = client.post(
            "/v1/users", json={**USER, "username": f"u{number}", "email": f"u{number}@example.org"}, headers=spoof
        )
    sent = client.post("/v1/notifications", json=MESSAGE, headers=spoof)
    listed = client.get("/v1/users?limit=1", headers=spoof)

    assert registered.headers["Location"] == registered.json["notifications"][0]["url"]
    assert registered.headers["Location"].startswith(f"{PUBLIC}/v1/notifications/")
    assert registered.headers["Content-Location"] == f"{PUBLIC}/v1/users/{registered.json['id']}"
    assert sent.headers["Location"] == sent.json["url"] == f"{PUBLIC}/v1/notifications/{sent.json['id']}"
    assert listed.headers["Link"] == f'<{PUBLIC}/v1/users?limit=1&after={listed.json["next"]}>; rel="next"'
    for answer in (registered, sent, listed):
        assert "evil" not in answer.text + str(answer.headers)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/users/",
        "//v1/users",
        "/v1//users",
        "/docs/",
        "/healthz/",
        "//evil.example/v1/users",
        "/v1/users//",
        "/\\evil.example",
    ],
)
def test_nobody_is_sent_anywhere_for_a_slash(client, path):
    answer = client.get(path, headers=OURS)

    assert answer.status_code in (200, 404)
    assert "Location" not in answer.headers


def test_the_document_and_the_page_point_to_where_the_outside_finds_them(client):
    assert client.get("/openapi.json", headers=OURS).json["servers"] == [{"url": "/post/"}]
    page = client.get("/docs", headers=OURS).text
    assert '"/post/openapi.json"' in page
    assert 'src="/post/docs/swagger-ui-bundle.js"' in page


class TestOnLoopback:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return Settings(database_url=settings.database_url, sender="Postroom <postroom@example.org>")

    @pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000"])
    def test_all_names_of_this_machine_are_one(self, anonymous, host):
        assert is_problem(anonymous.get("/v1/users", headers={"Host": host}), 401)

    def test_but_no_other(self, anonymous):
        assert is_problem(anonymous.get("/v1/users", headers={"Host": "rebound.example"}), 400)
