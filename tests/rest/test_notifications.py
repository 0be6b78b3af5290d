"""POST /v1/notifications, sentence by sentence of the contract."""

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.config import Settings
from api.core import contents
from api.core.db import db
from api.core.models import Delivery, Notification
from tests.rest.conftest import MESSAGE, is_problem, pointers

#: A test's fixtures are one for all of its examples, and each database has an instance of its class.
_BY_PYTEST = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]
ANN = {"user": {"username": "ann", "name": "Ann", "email": "ann@example.org"}}


@pytest.fixture
def frozen():
    """Return what the mail of a notification will be made from."""

    def frozen(status):
        return contents.load(db.session(), [UUID(status["id"])])[UUID(status["id"])]

    return frozen


class TestSending:
    def test_a_message_is_answered_202_with_its_status(self, client):
        answer = client.post("/v1/notifications", json={**MESSAGE, "tags": ["a", "b"], "metadata": {"order": 7}})

        assert answer.status_code == 202
        body = answer.json
        assert answer.headers["Location"] == body["url"] == f"http://127.0.0.1:8000/v1/notifications/{body['id']}"
        assert answer.headers["Retry-After"] == "2"
        assert UUID(body["id"]).version == 7
        assert body == {
            "id": body["id"],
            "url": body["url"],
            "status": "queued",
            "created_at": body["created_at"],
            "send_at": None,
            "expires_at": None,
            "finished_at": None,
            "subject": "[Postroom] Hello",
            "template": None,
            "tags": ["a", "b"],
            "metadata": {"order": 7},
            "batch_id": None,
            "message_id": f"<{body['id']}@example.org>",
            "deliveries": [
                {
                    "recipient": "ann@example.org",
                    "kind": "to",
                    "status": "queued",
                    "attempts": 0,
                    "next_attempt_at": body["created_at"],
                    "possible_duplicate": False,
                    "history": [],
                }
            ],
        }
        assert client.get(body["url"]).json == body

    @pytest.mark.parametrize(
        "to",
        [
            "ann@example.org",
            {"email": "ann@example.org", "name": "Ann"},
            ["ann@example.org"],
            [{"email": "ann@example.org", "name": "Ann"}],
            ["ann@example.org", {"email": "ANN@example.org"}, "Ann@Example.ORG"],
        ],
    )
    def test_one_may_stand_for_a_list_and_an_address_counts_once(self, send, to):
        assert [one["recipient"].lower() for one in send(to=to)["deliveries"]] == ["ann@example.org"]

    def test_each_recipient_is_a_delivery_of_its_kind(self, send, frozen):
        status = send(
            to=["ann@example.org", {"email": "bob@example.org", "name": "Bob, Jr."}],
            cc="cid@example.org",
            bcc=[{"email": "dan@example.org"}, "ann@example.org"],
            reply_to={"email": "eve@example.org", "name": "Eve"},
        )

        assert [(one["recipient"], one["kind"]) for one in status["deliveries"]] == [
            ("ann@example.org", "to"),
            ("bob@example.org", "to"),
            ("cid@example.org", "cc"),
            ("dan@example.org", "bcc"),
        ]
        content = frozen(status)
        assert [(one.email, one.name) for one in content.to] == [
            ("ann@example.org", None),
            ("bob@example.org", "Bob, Jr."),
        ]
        assert [(one.email, one.name) for one in content.reply_to] == [("eve@example.org", "Eve")]

    def test_cc_or_bcc_alone_is_enough(self, client):
        for name in ("cc", "bcc"):
            body = {"subject": "a", "text": "b", name: "ann@example.org"}
            assert client.post("/v1/notifications", json=body).status_code == 202

    def test_fifty_recipients_are_allowed_however_often_they_are_named(self, send):
        many = [f"a{number}@example.org" for number in range(50)]

        assert len(send(to=many, cc=many, bcc=[one.upper() for one in many])["deliveries"]) == 50

    @pytest.mark.parametrize(
        "given", ["shop@example.net", {"email": "SHOP@EXAMPLE.NET"}, {"email": "x@example.net", "name": "Shop"}]
    )
    def test_a_sender_on_the_list_is_used(self, send, frozen, given):
        assert frozen(send(**{"from": given})).sender.email.lower().endswith("@example.net")

    @pytest.mark.parametrize("given", ["ann@example.org", "x@example.net.evil.example", {"email": "eve@evil.example"}])
    def test_a_sender_that_is_not_is_403(self, client, nothing_stored, given):
        with nothing_stored():
            answer = client.post("/v1/notifications", json={**MESSAGE, "from": given})

            assert is_problem(answer, 403)
            place = "/from" if isinstance(given, str) else "/from/email"
            assert pointers(answer) == {place: "sender_not_allowed"}

    def test_a_template_is_rendered_with_the_data_before_the_answer(self, client, frozen):
        answer = client.post("/v1/notifications", json={"to": "ann@example.org", "template": "welcome", "data": ANN})

        assert answer.status_code == 202
        assert answer.json["template"]["name"] == "welcome"
        assert answer.json["template"]["version"]
        assert "Ann" in frozen(answer.json).text
        assert "Ann" in frozen(answer.json).html

    def test_the_subject_may_override_the_templates(self, client):
        body = {"to": "ann@example.org", "template": "welcome", "data": ANN, "subject": "Ahoy"}

        assert client.post("/v1/notifications", json=body).json["subject"] == "[Postroom] Ahoy"

    def test_every_missing_variable_is_named_at_once(self, client, nothing_stored):
        body = {"to": "ann@example.org", "template": "new_user", "data": {"user": {"name": "Ann"}}}
        with nothing_stored():
            answer = client.post("/v1/notifications", json=body)

            assert is_problem(answer, 422)
            assert pointers(answer) == {
                "/data/user/username": "missing_variable",
                "/data/user/email": "missing_variable",
            }

    def test_syntax_and_markup_in_the_data_stay_what_they_are(self, client, frozen):
        odd = "{{7*7}} {% raw %} <b>&amp;</b>"
        data = {"user": {"username": "ann", "name": odd, "email": "ann@example.org"}}

        status = client.post(
            "/v1/notifications", json={"to": "ann@example.org", "template": "welcome", "data": data}
        ).json

        assert odd in frozen(status).text
        assert "{{7*7}} {% raw %} &lt;b&gt;&amp;amp;&lt;/b&gt;" in frozen(status).html

    @pytest.mark.parametrize(
        "text",
        [
            "\n.\n",
            ".\r\n..\r\nQUIT\r\n",
            "\r",
            "a\rb\nc",
            "x" * 10_000,
            "żółć 李 👩‍🔬",
            "\x07\x1b[31m",
            "MAIL FROM:<eve@example.org>",
        ],
        ids=ascii,
    )
    def test_any_body_that_can_be_stored_is_taken_as_it_is(self, send, frozen, text):
        assert frozen(send(text=text)).text == text

    def test_text_or_html_or_both_will_do(self, send, frozen):
        assert frozen(send()).html is None
        assert frozen(send(html="<p>x</p>")).text == MESSAGE["text"]

    def test_a_subject_of_998_characters_with_its_prefix_is_the_longest(self, client):
        prefix = len("[Postroom] ")

        assert client.post("/v1/notifications", json={**MESSAGE, "subject": "x" * (998 - prefix)}).status_code == 202
        too_long = client.post("/v1/notifications", json={**MESSAGE, "subject": "x" * (999 - prefix)})
        assert is_problem(too_long, 422)
        assert pointers(too_long) == {"/subject": "too_long"}

    def test_an_address_that_idna_refuses_is_named_where_it_stands(self, client, nothing_stored):
        odd = "ann@\u2603.example.org"
        for value, place in [
            (odd, "/to"),
            ([odd], "/to/0"),
            ({"email": odd}, "/to/email"),
            ([{"email": odd}], "/to/0/email"),
        ]:
            with nothing_stored():
                answer = client.post("/v1/notifications", json={**MESSAGE, "to": value})
                assert is_problem(answer, 422)
                assert pointers(answer) == {place: "invalid_address"}

    @settings(suppress_health_check=_BY_PYTEST, max_examples=40, deadline=None)
    @given(
        st.dictionaries(
            st.sampled_from(["to", "subject", "text", "data", "template", "tags", "from"]),
            st.recursive(
                st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8) | st.just("ann@example.org"),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
            ),
        )
    )
    def test_no_value_whatever_is_a_fault_of_the_server(self, client, change):
        answer = client.post("/v1/notifications", json={**MESSAGE, **change})

        assert answer.status_code in (202, 403, 422)


class TestWithoutASender:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, sender=None, allowed_senders=("@example.net",))

    def test_the_request_must_name_one(self, client):
        answer = client.post("/v1/notifications", json=MESSAGE)

        assert is_problem(answer, 422)
        assert pointers(answer) == {"/from": "required"}
        assert client.post("/v1/notifications", json={**MESSAGE, "from": "a@example.net"}).status_code == 202


class TestWithoutAnySender:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, sender=None, allowed_senders=())

    @pytest.mark.parametrize("path", ["notifications", "batches"])
    def test_the_answer_says_what_the_operator_must_do(self, client, nothing_stored, path):
        content = {"subject": "Hello", "text": "Good day.\n"}
        body = MESSAGE if path == "notifications" else {**content, "messages": [{"to": "ann@example.org"}]}

        with nothing_stored():
            answer = client.post(f"/v1/{path}", json=body)

        assert is_problem(answer, 503)
        assert "the operator must set POSTROOM_SENDER" in answer.json["detail"]
        assert "Retry-After" in answer.headers

    def test_an_address_that_nobody_allowed_is_refused(self, client):
        assert is_problem(client.post("/v1/notifications", json={**MESSAGE, "from": "a@example.net"}), 403)


def test_what_was_refused_leaves_no_mail(client, count):
    for body in ({}, {**MESSAGE, "to": "x"}, {**MESSAGE, "nonsense": 1}, {**MESSAGE, "from": "eve@evil.example"}):
        assert client.post("/v1/notifications", json=body).status_code in (403, 422)

    assert count(Delivery) == count(Notification) == 0
