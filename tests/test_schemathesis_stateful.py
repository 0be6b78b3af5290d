"""Chains of requests made up from the document's links: what an answer leads to never ends in a fault of the server."""

import copy
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import schemathesis
import yaml
from flask import Flask
from hypothesis import HealthCheck, Phase, settings

from api.app import create_app
from api.config import Settings
from api.core import inbox, keys
from api.core.db import Base, close, db, transact
from schemas.vocabulary import Mode, Scope

CHECKS = [
    schemathesis.checks.not_a_server_error,
    schemathesis.checks.status_code_conformance,
    schemathesis.checks.content_type_conformance,
    schemathesis.checks.response_schema_conformance,
    schemathesis.checks.response_headers_conformance,
]
DOCUMENT = Path(__file__).parent.parent / "openapi.yaml"
OPERATIONS = {
    operation["operationId"]: operation
    for methods in yaml.safe_load(DOCUMENT.read_text())["paths"].values()
    for operation in methods.values()
}
LINKS = {
    name: {target for answer in operation["responses"].values() for target in answer.get("links", {})}
    for name, operation in OPERATIONS.items()
}
LINKED = {name for name, targets in LINKS.items() if targets}.union(*LINKS.values())
EXAMPLES = {
    name: [one["value"] for one in OPERATIONS[name]["requestBody"]["content"]["application/json"]["examples"].values()]
    for name, targets in LINKS.items()
    if targets and "requestBody" in OPERATIONS[name]
}


@pytest.fixture
def service(tmp_path):
    """An app with its tables, and no limit to the rate of requests."""
    app = create_app(
        Settings(
            database_url=f"sqlite:///{tmp_path}/postroom.db",
            sender="Postroom <postroom@example.org>",
            admin="admin@example.org",
            rate_limit="off",
        )
    )
    with app.app_context():
        Base.metadata.create_all(db.engine)
    app.extensions["postroom.dispatcher"] = SimpleNamespace(alive=True, trouble=None)
    yield app
    close(app)


def begin(app: Flask) -> str:
    """Empty the tables, so that each journey begins alike; put a mail into the inbox, and return a key's secret."""
    with app.app_context():
        transact(lambda session: [session.execute(table.delete()) for table in reversed(Base.metadata.sorted_tables)])
        inbox.capture(mode=Mode.LIVE, sender="a@example.org", recipients=["b@example.org"], raw=b"Subject: x\r\n\r\n")
        return keys.create(name="schemathesis", scopes=[Scope.ADMIN])[1]


class Diary:
    """What happened on the journeys: the operations that links led to, and the statuses of all answers."""

    def __init__(self) -> None:
        self.followed: Counter[str] = Counter()
        self.answered: Counter[int] = Counter()


def name_of(case: Any) -> str:
    return str(case.operation.definition.raw["operationId"])


def chosen(examples: list[Any], turn: int, *, otherwise: Any) -> Any:
    return examples[turn // 2 % len(examples)] if examples and turn % 2 else otherwise


def journeys(app: Flask, diary: Diary) -> Any:
    """Return the machine that makes journeys through an app."""
    schema = schemathesis.openapi.from_path(DOCUMENT).include(operation_id=sorted(LINKED))
    schema.config.generation.modes = [schemathesis.GenerationMode.POSITIVE]
    # The links that the document tells, no guessed ones.
    schema.config.phases.stateful.inference.algorithms = []

    class Journeys(schema.as_state_machine()):  # type: ignore[misc]  # made while the test runs
        def setup(self) -> None:
            self.turn = 0
            self.secret = begin(app)

        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"app": app, "headers": {"Authorization": f"Bearer {self.secret}"}}

        def before_call(self, case: Any) -> None:
            # Half of what begins a journey is what a person would send: chance alone seldom gets beyond the checks.
            examples = EXAMPLES.get(name_of(case), [])
            self.turn += 1
            case.body = copy.deepcopy(chosen(examples, self.turn, otherwise=case.body))

        def after_call(self, response: Any, case: Any) -> None:
            diary.answered[response.status_code] += 1

        def step(self, input: Any) -> Any:
            if input.transition is not None:
                diary.followed[name_of(input.case)] += 1
            return super().step(input)

        def validate_response(self, response: Any, case: Any, additional_checks: Any = None, **kwargs: Any) -> None:
            case.validate_response(response, checks=CHECKS, transport_kwargs=kwargs)

    return Journeys


def test_what_an_answer_leads_to_is_answered_as_documented(service):
    diary = Diary()

    journeys(service, diary).run(
        settings=settings(
            max_examples=25,
            stateful_step_count=8,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
    )

    assert len(diary.followed) >= 8
    assert {200, 201, 202} <= diary.answered.keys()
    assert 401 not in diary.answered


def test_every_operation_that_makes_something_says_where_it_leads():
    makers = {name for name, one in OPERATIONS.items() if {"201", "202"} & one["responses"].keys()}

    assert makers - {name for name, targets in LINKS.items() if targets} <= {"retry_notification"}
