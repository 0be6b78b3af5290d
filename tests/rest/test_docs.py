"""/openapi.json and /docs, as far as they can be told without a browser."""

import re

import pytest

from tests.rest.conftest import is_problem


def test_the_document_is_served_to_everybody(anonymous):
    answer = anonymous.get("/openapi.json")

    assert answer.status_code == 200
    assert answer.content_type == "application/json"
    assert answer.json["openapi"].startswith("3.1")
    assert list(answer.json)[:2] == ["openapi", "info"]


def test_the_page_allows_its_own_scripts_alone(anonymous):
    first, second = (anonymous.get("/docs").headers["Content-Security-Policy"] for _ in range(2))

    assert first != second  # a nonce that comes twice is none
    policy = dict(part.strip().partition(" ")[::2] for part in first.split(";"))
    assert policy["default-src"] == "'none'"
    assert re.fullmatch(r"'self' 'nonce-[\w-]{20,}'", policy["script-src"])
    assert policy["connect-src"] == "'self'"
    assert "unsafe" not in first
    assert "*" not in first
    assert "http" not in first


def test_the_page_names_nothing_elsewhere(anonymous):
    page = anonymous.get("/docs").text

    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(links) >= 3
    assert all(link.startswith("/") and not link.startswith("//") for link in links)
    assert "://" not in page


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("swagger-ui.css", "text/css; charset=utf-8"),
        ("swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
        ("favicon-32x32.png", "image/png"),
    ],
)
def test_the_pages_files_come_from_here_and_may_be_kept(anonymous, name, media_type):
    answer = anonymous.get(f"/docs/{name}")

    assert answer.status_code == 200
    assert answer.content_type == media_type
    assert "max-age" in answer.headers["Cache-Control"]
    assert len(answer.data) > 500


@pytest.mark.parametrize(
    "name", ["index.html", "swagger-ui.js", "..", "%2e%2e%2f__init__.py", "VERSION", "oauth2-redirect.html", "%00"]
)
def test_other_files_are_not_served(anonymous, name):
    assert is_problem(anonymous.get(f"/docs/{name}"), 404)
