"""Recipients by user_id, and DELETE /v1/recipients."""

from uuid import UUID, uuid4

import pytest

from api.core import contents
from api.core.db import db
from schemas.vocabulary import Scope
from tests.conftest import SENT
from tests.rest.conftest import MESSAGE, USER, is_problem, pointers


@pytest.fixture
def ann(client):
    """A registered user's id."""
    return client.post("/v1/users", json={**USER, "name": "Ann, Jr."}).json["id"]


class TestUserId:
    @pytest.mark.parametrize("listed", [True, False])
    def test_mail_goes_to_the_users_address_and_name(self, client, ann, listed):
        one = {"user_id": ann}

        answer = client.post("/v1/notifications", json={**MESSAGE, "to": [one] if listed else one})

        assert answer.status_code == 202
        assert [one["recipient"] for one in answer.json["deliveries"]] == ["ann@example.org"]
        id_ = UUID(answer.json["id"])
        assert contents.load(db.session(), [id_])[id_].to[0].name == "Ann, Jr."

    def test_it_may_stand_beside_addresses_in_every_list(self, client, ann):
        body = {**MESSAGE, "to": ["bob@example.org", {"user_id": ann}], "cc": [{"user_id": ann.upper()}]}

        answer = client.post("/v1/notifications", json=body)

        assert [(one["recipient"], one["kind"]) for one in answer.json["deliveries"]] == [
            ("bob@example.org", "to"),
            ("ann@example.org", "to"),
        ]

    @pytest.mark.parametrize(
        ("to", "place"),
        [
            ({"user_id": str(uuid4())}, "/to/user_id"),
            (["bob@example.org", {"user_id": str(uuid4())}], "/to/1/user_id"),
            ({"user_id": "7"}, "/to/user_id"),
            ({"user_id": None}, "/to/user_id"),
            ({"user_id": 7}, "/to/user_id"),
            ([{"user_id": uuid4().hex}], "/to/0/user_id"),
            ([{"user_id": f"{{{uuid4()}}}"}], "/to/0/user_id"),
            ([{"user_id": str(uuid4()), "name": "Ann"}], "/to/0/name"),
            ([{"user_id": str(uuid4()), "email": "ann@example.org"}], "/to/0/user_id"),
        ],
    )
    def test_an_unknown_or_odd_one_is_422_with_the_place(self, client, nothing_stored, to, place):
        with nothing_stored():
            answer = client.post("/v1/notifications", json={**MESSAGE, "to": to})

            assert is_problem(answer, 422)
            assert list(pointers(answer)) == [place]

    def test_the_other_modes_user_is_unknown(self, test_client, ann):
        answer = test_client.post("/v1/notifications", json={**MESSAGE, "to": {"user_id": ann}})

        assert pointers(answer) == {"/to/user_id": "unknown_user"}

    @pytest.mark.parametrize("field", ["reply_to", "from"])
    def test_only_recipients_are_named_so(self, client, ann, field):
        assert is_problem(client.post("/v1/notifications", json={**MESSAGE, field: {"user_id": ann}}), 422)


class TestErasing:
    @pytest.mark.parametrize("path", ["ann@example.org", "ANN@Example.org", "ann%40example.org"])
    def test_their_mail_is_cancelled_and_forgotten_and_the_counts_stay(self, client, path, claim, settle):
        client.post("/v1/notifications", json=MESSAGE)
        settle(claim()[0], SENT)
        client.post("/v1/notifications", json=MESSAGE)

        answer = client.delete(f"/v1/recipients/{path}")

        assert (answer.status_code, answer.data) == (204, b"")
        found = client.get("/v1/notifications").json["data"]
        assert [one["status"] for one in found] == ["cancelled", "sent"]
        assert b"ann@" not in client.get("/v1/notifications").data
        assert client.get("/v1/notifications?recipient=ann@example.org").json["data"] == []

    def test_who_is_unknown_is_204_too(self, client):
        for _ in range(2):
            assert client.delete("/v1/recipients/nobody@example.org").status_code == 204

    def test_an_address_with_a_slash_can_be_erased(self, client):
        odd = "a/b@example.org"
        sent = client.post("/v1/notifications", json={**MESSAGE, "to": odd}).json

        assert client.delete("/v1/recipients/a%2Fb@example.org").status_code == 204
        assert client.get(sent["url"]).json["status"] == "cancelled"

    @pytest.mark.parametrize("path", ["ann", "[erased]", "ann@localhost", "a@b@example.org", "%00@example.org", "%FF"])
    def test_what_is_no_address_is_404(self, client, path):
        assert is_problem(client.delete(f"/v1/recipients/{path}"), 404)

    def test_the_other_mode_is_left_alone(self, client, test_client):
        sent = client.post("/v1/notifications", json=MESSAGE).json

        assert test_client.delete("/v1/recipients/ann@example.org").status_code == 204
        assert client.get(sent["url"]).json["status"] == "queued"

    def test_it_needs_its_scope(self, client_with):
        for scope in set(Scope) - {Scope.NOTIFICATIONS_WRITE, Scope.ADMIN}:
            assert is_problem(client_with(scope).delete("/v1/recipients/ann@example.org"), 403)
