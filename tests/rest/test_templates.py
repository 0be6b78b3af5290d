"""/v1/templates, sentence by sentence of the contract."""

from dataclasses import replace
from pathlib import Path

import pytest

from api.config import Settings
from tests.rest.conftest import is_problem, pointers

ANN = {"user": {"username": "ann", "name": "Ann <b>", "email": "ann@example.org"}}
OURS = {
    "invoice.txt": "Total: {{ total }}",
    "invoice.html": "<p>Total: {{ total }}</p>",
    "invoice.de.txt": "Summe: {{ total }}",
    "invoice.de.html": "<p>Summe: {{ total }}</p>",
    "half.txt": "no html",
    "broken.txt": "{{ 1 / 0 }}",
    "broken.html": "{{ 1 / 0 }}",
}


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    folder = tmp_path / "templates"
    folder.mkdir()
    for name, source in OURS.items():
        (folder / name).write_text(source)
    return replace(settings, templates=str(folder))


def test_all_templates_are_listed_by_name(client):
    listed = client.get("/v1/templates").json

    names = [one["name"] for one in listed["data"]]
    assert names == sorted(names)
    assert {"broken", "invoice", "new_user", "welcome"} <= set(names)
    assert "half" not in names
    assert listed["next"] is None


def test_a_template_tells_its_variables_locales_and_version(client):
    shown = client.get("/v1/templates/invoice").json

    assert shown["variables"] == ["total"]
    assert shown["locales"] == ["de"]
    assert shown["version"]
    assert shown["has_subject"] is False
    assert shown["example"] is None
    assert shown in client.get("/v1/templates").json["data"]


def test_the_shipped_ones_can_be_tried_with_their_examples(client):
    for name in ("new_user", "welcome"):
        shown = client.get(f"/v1/templates/{name}").json
        assert {"user.username", "user.name", "user.email"} <= set(shown["variables"])
        assert client.post(f"/v1/templates/{name}/preview", json={"data": shown["example"]}).status_code == 200


@pytest.mark.parametrize(
    "name", ["nothing", "_layout", "welcome.txt", "..", "%2e%2e%2fconfig", "WELCOME", "%00", "half", "é", "x" * 5000]
)
def test_what_is_no_template_is_404(client, name):
    assert is_problem(client.get(f"/v1/templates/{name}"), 404)


def test_a_preview_is_what_would_be_sent_and_sends_nothing(client, nothing_stored):
    with nothing_stored():
        answer = client.post("/v1/templates/welcome/preview", json={"data": ANN})

    assert answer.status_code == 200
    assert answer.json.keys() == {"subject", "text", "html"}
    assert "Ann <b>" in answer.json["text"]
    assert "Ann &lt;b&gt;" in answer.json["html"]


def test_a_preview_takes_the_locale_that_is_asked_for(client):
    for locale, word in [("de", "Summe"), ("de-AT", "Summe"), ("fr", "Total")]:
        answer = client.post("/v1/templates/invoice/preview", json={"data": {"total": 7}, "locale": locale})
        assert answer.json["text"].startswith(word)
    assert answer.json["subject"] is None


@pytest.mark.parametrize("name", ["welcome", "invoice", "broken"])
def test_a_preview_fails_just_as_sending_does(client, name):
    wrong: list[dict[str, object]] = [{}, {"user": {}}, {"user": "x"}]
    for data in wrong:
        preview = client.post(f"/v1/templates/{name}/preview", json={"data": data})
        sent = client.post(
            "/v1/notifications", json={"to": "a@example.org", "template": name, "data": data, "subject": "x"}
        )
        assert is_problem(preview, 422)
        assert (preview.json["detail"], preview.json["errors"]) == (sent.json["detail"], sent.json["errors"])


def test_a_preview_without_data_names_what_is_missing(client):
    answer = client.post("/v1/templates/invoice/preview", json={})

    assert pointers(answer) == {"/data/total": "missing_variable"}


def test_a_preview_of_nothing_is_404_and_of_half_a_template_names_the_half(client):
    assert is_problem(client.post("/v1/templates/nothing/preview", json={}), 404)
    half = client.post("/v1/templates/half/preview", json={})
    assert is_problem(half, 422)
    assert ".html" in half.json["detail"]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"data": []}, {"/data": "invalid_type"}),
        ({"data": {"x": "\x00"}}, {"/data/x": "bad_text"}),
        ({"locale": "../x"}, {"/locale": "invalid_format"}),
        ({"to": "x"}, {"/to": "unknown_field"}),
    ],
    ids=str,
)
def test_a_wrong_preview_is_422_with_the_place(client, body, found):
    answer = client.post("/v1/templates/invoice/preview", json=body)

    assert is_problem(answer, 422)
    assert pointers(answer) == found
