"""The simulator over HTTP: live keys are turned away, and so is who misspells a mailbox; nothing is stored then."""

import pytest

from api.core.simulator import DOMAIN, MAILBOXES
from tests.rest.conftest import MESSAGE, USER, is_problem, pointers

ADDRESS = f"deferred+anything@{DOMAIN}"


@pytest.mark.parametrize("mailbox", MAILBOXES)
def test_a_test_key_may_write_to_every_mailbox(test_client, mailbox):
    answer = test_client.post("/v1/notifications", json={**MESSAGE, "to": f"{mailbox}+order-7@{DOMAIN}"})

    assert answer.status_code == 202
    assert answer.json["deliveries"][0]["recipient"] == f"{mailbox}+order-7@{DOMAIN}"


@pytest.mark.parametrize("address", [ADDRESS, f"Nobody@{DOMAIN.upper()}", f"slow@{DOMAIN}"])
@pytest.mark.parametrize("field", ["to", "cc", "bcc"])
def test_a_live_key_is_turned_away_with_the_place(client, nothing_stored, field, address):
    with nothing_stored():
        answer = client.post("/v1/notifications", json={**MESSAGE, field: ["bob@example.org", {"email": address}]})

        assert is_problem(answer, 422)
    assert pointers(answer) == {f"/{field}/1/email": "simulated"}


def test_a_mailbox_that_there_is_not_is_named_to_a_test_key(test_client, nothing_stored):
    with nothing_stored():
        answer = test_client.post("/v1/notifications", json={**MESSAGE, "to": f"bounce@{DOMAIN}"})

        assert is_problem(answer, 422)
    assert pointers(answer) == {"/to": "not_one_of"}
    assert "deferred" in answer.json["errors"][0]["detail"]


def test_an_answer_may_be_asked_for_there(client):
    assert client.post("/v1/notifications", json={**MESSAGE, "reply_to": ADDRESS}).status_code == 202


def test_in_a_batch_the_message_is_named(client, test_client, nothing_stored):
    body = {"subject": "Hello", "text": "x", "messages": [{"to": "ann@example.org"}, {"to": [ADDRESS]}]}
    with nothing_stored():
        answer = client.post("/v1/batches", json=body)

        assert is_problem(answer, 422)
    assert pointers(answer) == {"/messages/1/to/0": "simulated"}
    assert test_client.post("/v1/batches", json=body).status_code == 202


def test_a_live_user_cannot_live_there(client, test_client, nothing_stored):
    body = {**USER, "email": ADDRESS}
    with nothing_stored():
        assert pointers(client.post("/v1/users", json=body)) == {"/email": "simulated"}
    user = client.post("/v1/users", json=USER).json
    changed = client.patch(f"/v1/users/{user['id']}", json={"email": ADDRESS}, headers={"If-Match": "*"})
    assert pointers(changed) == {"/email": "simulated"}

    assert test_client.post("/v1/users", json=body).status_code in (201, 202)


def test_it_is_never_too_much_for_a_mailbox(test_client):
    answers = [test_client.post("/v1/notifications", json={**MESSAGE, "to": ADDRESS}) for _ in range(61)]

    assert {answer.status_code for answer in answers} == {202}
