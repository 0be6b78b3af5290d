"""The short version of `python -m tests.crash`: random `kill -9`, and the audit."""

import pytest

from tests.crash.harness import Plan, run
from tests.crash.table import table


@pytest.mark.parametrize(
    ("dispatchers", "celery", "kills"),
    [
        pytest.param(1, False, 5, id="1 thread"),
        pytest.param(3, False, 5, id="3 processes"),
        pytest.param(4, True, 3, id="4 Celery workers"),
    ],
)
def test_nothing_that_was_answered_202_is_lost_when_processes_are_killed_at_random(
    request, tmp_path, database, dispatchers, celery, kills
):
    url = request.getfixturevalue("database_url") if database == "postgresql" else None
    plan = Plan(240, kills, dispatchers, seed=dispatchers, seconds=120, latency_ms=5, celery=celery)

    report = run(plan, tmp_path, database_url=url)

    assert report.breaches() == [], table([report])
    assert report.kills.total() == plan.kills
    assert report.audit.messages == plan.messages
    assert report.audit.answered > plan.messages / 2
