"""Schedule, cancel, retry, reschedule and content, sentence by sentence of the contract."""

import base64
from datetime import datetime, timedelta, timezone
from uuid import UUID, uuid4

import pytest

from api.core import clock, contents
from api.core.db import db
from schemas.vocabulary import Scope
from tests.conftest import GREYLISTED, REFUSED, SENT
from tests.rest.conftest import MESSAGE, is_problem, pointers


def stamp(**later: float) -> str:
    """Return the time this long from now, as the wire has it."""
    moment = clock.utcnow() + timedelta(**later)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class TestScheduling:
    def test_before_send_at_it_is_scheduled(self, client, send, claim):
        send_at, expires_at = stamp(days=1), stamp(days=2)

        status = send(send_at=send_at, expires_at=expires_at)

        assert (status["status"], status["send_at"], status["expires_at"]) == ("scheduled", send_at, expires_at)
        assert status["deliveries"][0]["next_attempt_at"] == send_at
        assert claim() == []
        found = client.get(status["url"])
        assert found.json == status
        assert found.headers["Retry-After"] == "60"
        assert [one["id"] for one in client.get("/v1/notifications?status=scheduled").json["data"]] == [status["id"]]

    def test_any_offset_will_do_and_utc_comes_back(self, send):
        send_at = stamp(days=1)
        in_delhi = datetime.fromisoformat(send_at).astimezone(timezone(timedelta(hours=5, minutes=30)))

        assert send(send_at=in_delhi.isoformat())["send_at"] == send_at

    def test_a_time_that_has_passed_is_told_and_means_now(self, send):
        status = send(send_at="2020-01-01T00:00:00Z")

        assert (status["status"], status["send_at"]) == ("queued", "2020-01-01T00:00:00.000Z")
        assert status["deliveries"][0]["next_attempt_at"] == status["created_at"]

    @pytest.mark.once
    @pytest.mark.parametrize("field", ["send_at", "expires_at"])
    @pytest.mark.parametrize(
        "value",
        [
            "2027-01-01T09:00:00",
            "2027-01-01",
            "2027-01-01 09:00:00Z",
            "2027-13-01T09:00:00Z",
            "2027-02-30T09:00:00Z",
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00+14:00",
            "0001-01-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "9999-12-31T23:59:59Z",
            "9999-12-31T23:59:59-14:00",
            "99999-01-01T00:00:00Z",
            "tomorrow",
            "",
            1893456000,
            True,
            [],
            {},
            None,
        ],
        ids=ascii,
    )
    def test_a_naive_or_absurd_time_is_refused_and_nothing_is_stored(self, client, nothing_stored, field, value):
        with nothing_stored():
            answer = client.post("/v1/notifications", json={**MESSAGE, field: value})

            assert is_problem(answer, 422)
            assert list(pointers(answer)) == [f"/{field}"]

    def test_times_in_the_wrong_order_are_refused_with_the_place(self, client, nothing_stored):
        for times, place in [
            ({"send_at": stamp(days=367)}, "/send_at"),
            ({"expires_at": stamp(seconds=-1)}, "/expires_at"),
            ({"send_at": stamp(days=2), "expires_at": stamp(days=1)}, "/expires_at"),
        ]:
            with nothing_stored():
                answer = client.post("/v1/notifications", json={**MESSAGE, **times})

                assert is_problem(answer, 422)
                assert pointers(answer) == {place: "out_of_range"}


class TestCancelling:
    def test_what_waits_is_cancelled_200(self, client, send, claim):
        status = send()

        answer = client.post(f"/v1/notifications/{status['id']}/cancel")

        assert answer.status_code == 200
        assert answer.json == client.get(status["url"]).json
        assert answer.json["status"] == answer.json["deliveries"][0]["status"] == "cancelled"
        assert answer.json["finished_at"]
        assert answer.json["deliveries"][0]["next_attempt_at"] is None
        assert claim() == []

    def test_once_it_is_sending_it_is_409(self, client, send, claim):
        status = send()
        claim()

        answer = client.post(f"/v1/notifications/{status['id']}/cancel")

        assert is_problem(answer, 409)
        assert client.get(status["url"]).json["status"] == "sending"

    @pytest.mark.parametrize("result", [SENT, REFUSED])
    def test_once_it_is_finished_it_is_409(self, client, send, claim, settle, result):
        status = send()
        settle(claim()[0], result)

        assert is_problem(client.post(f"/v1/notifications/{status['id']}/cancel"), 409)

    def test_of_a_partly_sent_message_the_rest_is_cancelled(self, client, send, claim, settle):
        status = send(to=["ann@example.org", "bob@example.org"])
        settle(claim(limit=1)[0], SENT)

        answer = client.post(f"/v1/notifications/{status['id']}/cancel")

        assert (answer.status_code, answer.json["status"]) == (200, "partial")
        assert [one["status"] for one in answer.json["deliveries"]] == ["sent", "cancelled"]


class TestRetrying:
    def test_a_failed_recipient_is_queued_again_202(self, client, send, claim, settle):
        status = send(to=["ann@example.org", "bob@example.org"])
        for held, result in zip(claim(), (SENT, REFUSED), strict=True):
            settle(held, result)

        answer = client.post(f"/v1/notifications/{status['id']}/retry")

        assert answer.status_code == 202
        assert answer.headers["Location"] == status["url"]
        assert answer.headers["Retry-After"] == "2"
        assert answer.json["status"] == "queued"
        assert [one["status"] for one in answer.json["deliveries"]] == ["sent", "queued"]
        assert [held.recipient for held in claim()] == ["bob@example.org"]

    def test_an_expired_one_is_queued_again(self, client, send, claim, at):
        status = send()
        at(days=6)
        claim()
        assert client.get(status["url"]).json["status"] == "expired"

        assert client.post(f"/v1/notifications/{status['id']}/retry").status_code == 202
        assert len(claim()) == 1

    @pytest.mark.parametrize("results", [[], [SENT], [GREYLISTED]])
    def test_anything_else_is_409(self, client, send, claim, settle, results):
        status = send()
        for held, result in zip(claim(limit=len(results)) if results else [], results, strict=True):
            settle(held, result)

        assert is_problem(client.post(f"/v1/notifications/{status['id']}/retry"), 409)

    def test_after_the_callers_expires_at_it_is_409(self, client, send, claim, settle, at):
        status = send(expires_at=stamp(hours=1))
        settle(claim()[0], REFUSED)
        at(hours=2)

        assert is_problem(client.post(f"/v1/notifications/{status['id']}/retry"), 409)

    def test_without_its_content_it_is_410(self, client, send, claim, settle):
        status = send()
        settle(claim()[0], REFUSED)
        assert client.delete("/v1/recipients/ann@example.org").status_code == 204

        assert is_problem(client.post(f"/v1/notifications/{status['id']}/retry"), 410)


class TestRescheduling:
    def patch(self, client, status, body, **headers):
        return client.patch(f"/v1/notifications/{status['id']}", json=body, headers=headers)

    def test_what_waits_is_moved_200(self, client, send):
        status, send_at = send(), stamp(days=1)

        answer = self.patch(client, status, {"send_at": send_at})

        assert answer.status_code == 200
        assert (answer.json["status"], answer.json["send_at"]) == ("scheduled", send_at)
        assert answer.json["deliveries"][0]["next_attempt_at"] == send_at
        assert answer.json == client.get(status["url"]).json

    def test_null_means_now(self, client, send, claim):
        status = send(send_at=stamp(days=1))

        answer = self.patch(client, status, {"send_at": None})

        assert (answer.json["status"], answer.json["send_at"]) == ("queued", None)
        assert len(claim()) == 1

    @pytest.mark.parametrize("result", [None, SENT, REFUSED, GREYLISTED])
    def test_once_anything_was_tried_it_is_409(self, client, send, claim, settle, result):
        status = send()
        [held] = claim()
        if result is not None:
            settle(held, result)

        assert is_problem(self.patch(client, status, {"send_at": stamp(days=1)}), 409)
        assert client.get(status["url"]).json["send_at"] is None

    @pytest.mark.parametrize(
        ("body", "place"),
        [
            ({}, "/send_at"),
            ({"send_at": "2027-01-01T09:00:00"}, "/send_at"),
            ({"send_at": 7}, "/send_at"),
            ({"send_at": "9999-12-31T23:59:59Z"}, "/send_at"),
            ({"send_at": None, "subject": "a"}, "/subject"),
        ],
    )
    def test_wrong_fields_are_422_and_change_nothing(self, client, send, body, place):
        status = send()

        answer = self.patch(client, status, body)

        assert is_problem(answer, 422)
        assert list(pointers(answer)) == [place]
        assert client.get(status["url"]).json == status

    def test_a_time_behind_expires_at_is_422(self, client, send):
        status = send(expires_at=stamp(days=1))

        assert pointers(self.patch(client, status, {"send_at": stamp(days=2)})) == {"/send_at": "out_of_range"}

    def test_if_match_is_the_tag_of_the_resource_or_any(self, client, send):
        status = send()
        tag = client.get(status["url"]).headers["ETag"]

        moved = self.patch(client, status, {"send_at": stamp(days=1)}, If_Match=tag)
        assert moved.status_code == 200
        assert moved.headers["ETag"] == client.get(status["url"]).headers["ETag"] != tag
        again = self.patch(client, status, {"send_at": stamp(days=2)}, If_Match=f'"other", {moved.headers["ETag"]}')
        assert again.status_code == 200
        assert self.patch(client, status, {"send_at": None}, If_Match="*").status_code == 200

    @pytest.mark.parametrize("weak", [False, True])
    def test_a_stale_or_weak_tag_is_412_and_changes_nothing(self, client, send, weak):
        status = send()
        tag = client.get(status["url"]).headers["ETag"]
        if not weak:
            self.patch(client, status, {"send_at": stamp(days=1)})
        before = client.get(status["url"]).json

        answer = self.patch(client, status, {"send_at": stamp(days=3)}, If_Match=f"W/{tag}" if weak else tag)

        assert is_problem(answer, 412)
        assert client.get(status["url"]).json == before


class TestContent:
    def test_it_is_what_was_frozen(self, client, send):
        file = {"filename": "a.txt", "content_type": "text/plain", "content": "YWJj", "content_id": "a"}
        status = send(html="<p>Good day.</p>", attachments=file)

        answer = client.get(f"/v1/notifications/{status['id']}/content")

        assert answer.status_code == 200
        assert answer.json == {
            "subject": "[Postroom] Hello",
            "text": "Good day.\n",
            "html": "<p>Good day.</p>",
            "attachments": [{"filename": "a.txt", "content_type": "text/plain", "size": 3, "content_id": "a"}],
        }

    def test_once_purged_it_is_410(self, client, send):
        status = send()
        client.delete("/v1/recipients/ann@example.org")

        assert is_problem(client.get(f"/v1/notifications/{status['id']}/content"), 410)
        assert client.get(status["url"]).json["subject"] is None


OPERATIONS = [("post", "/cancel"), ("post", "/retry"), ("patch", ""), ("get", "/content")]


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_what_is_unknown_or_of_the_other_mode_is_404(client, test_client, send, method, path):
    body = {"json": {"send_at": None}} if method == "patch" else {}
    for asking, id_ in [(client, uuid4()), (client, "x"), (test_client, send()["id"])]:
        assert is_problem(asking.open(f"/v1/notifications/{id_}{path}", method=method, **body), 404)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_each_needs_its_scope(client_with, send, method, path):
    lacking = client_with(Scope.NOTIFICATIONS_WRITE if method == "get" else Scope.NOTIFICATIONS_READ)
    body = {"json": {"send_at": None}} if method == "patch" else {}

    assert is_problem(lacking.open(f"/v1/notifications/{send()['id']}{path}", method=method, **body), 403)


class TestHeadersAndFiles:
    def test_headers_of_the_callers_own_are_frozen(self, send):
        status = send(headers={"X-Order": "7", "List-Unsubscribe": "<https://example.org/u?id=7>", "X-Name": "Änne"})

        content = contents.load(db.session(), [UUID(status["id"])])[UUID(status["id"])]
        assert content.headers == (
            ("X-Order", "7"),
            ("List-Unsubscribe", "<https://example.org/u?id=7>"),
            ("X-Name", "Änne"),
        )

    def test_a_message_may_bring_more_than_its_plain_part_may(self, send):
        large = base64.b64encode(bytes(7 * 1024 * 1024)).decode()
        file = {"filename": "a.bin", "content_type": "application/octet-stream", "content": large}

        status = send(attachments=[file, {**file, "filename": "b.bin"}])

        content = contents.load(db.session(), [UUID(status["id"])])[UUID(status["id"])]
        assert [len(one.content) for one in content.attachments] == [7 * 1024 * 1024] * 2

    @pytest.mark.parametrize(
        ("sizes", "place"), [([11], "/attachments/0/content"), ([8, 8], "/attachments"), ([11, 5], "/attachments")]
    )
    def test_more_than_the_operator_allows_is_422_with_the_place(self, client, nothing_stored, sizes, place):
        files = [
            {"filename": "a", "content_type": "a/b", "content": "AAAA" * (size * 1024 * 1024 // 3)} for size in sizes
        ]
        with nothing_stored():
            answer = client.post("/v1/notifications", json={**MESSAGE, "attachments": files})

            assert is_problem(answer, 422)
            assert pointers(answer)[place] == "too_large"

    def test_one_too_many_is_422(self, client, send, nothing_stored):
        file = {"filename": "a", "content_type": "a/b", "content": ""}
        send(attachments=[file] * 20)
        with nothing_stored():
            answer = client.post("/v1/notifications", json={**MESSAGE, "attachments": [file] * 21})

            assert pointers(answer) == {"/attachments": "too_many"}

    def test_a_single_file_is_named_where_it_stands(self, client):
        file = {"filename": "a", "content_type": "a/b", "content": "AAAA" * (11 * 1024 * 1024 // 3)}

        answer = client.post("/v1/notifications", json={**MESSAGE, "attachments": file})

        assert pointers(answer) == {"/attachments/content": "too_large"}

    @pytest.mark.parametrize(
        "part",
        ['{"a":[' + "[]," * 2_000_000 + "1]}", '{"text":"' + "a b" * 2_000_000 + '"}', '{"a":' + "9" * 6_000_000 + "}"],
        ids=["lists", "text", "digits"],
    )
    def test_what_is_no_attachment_stays_small(self, client, nothing_stored, part):
        with nothing_stored():
            answer = client.post("/v1/notifications", data=part, content_type="application/json")

            assert answer.status_code in (400, 413)
