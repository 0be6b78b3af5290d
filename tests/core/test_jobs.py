"""The periodic jobs: each is done by one process in each of its periods."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from api.core import clock, jobs
from api.core.db import db, transact
from api.core.errors import Unavailable
from api.core.jobs import Job, Lease
from schemas.vocabulary import DeliveryStatus

PERIOD = timedelta(seconds=10)


class Work:
    """A job that counts how often it is done."""

    def __init__(self) -> None:
        self.done = 0

    def __call__(self) -> None:
        self.done += 1


@pytest.fixture
def work():
    return Work()


def lease(job: Job):
    return db.session.scalar(
        select(Lease.due_at).where(Lease.name == job.name).execution_options(populate_existing=True)
    )


def test_a_job_is_done_once_in_a_period_whoever_comes(app, work, at):
    job = Job("test", PERIOD, work)
    at(seconds=0)
    assert jobs.run(job)
    assert not jobs.run(job)
    at(seconds=5)
    assert not jobs.run(job)
    at(seconds=9.5)  # who comes a little early need not come once more
    assert jobs.run(job)
    assert work.done == 2


def test_of_many_that_come_at_once_one_does_the_job(app, work):
    job = Job("test", PERIOD, work)
    together = threading.Barrier(8)
    found = []

    def come() -> None:
        with app.app_context():
            together.wait()
            found.append(jobs.run(job))

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [False] * 7 + [True]
    assert work.done == 1


def test_nobody_begins_a_job_that_somebody_is_at(app, at):
    seen = []

    def again() -> None:
        at(seconds=30)  # the period is over, and the job is not
        seen.append(jobs.run(job))

    job = Job("test", PERIOD, again)
    at(seconds=0)
    assert jobs.run(job)
    assert seen == [False]


def test_a_job_whose_process_died_is_done_by_another_when_its_lease_is_over(app, work, at):
    def die() -> None:
        raise SystemExit

    begun = at(seconds=0)
    with pytest.raises(SystemExit):
        jobs.run(Job("test", PERIOD, die))
    # As a process leaves it that is killed at its work.
    transact(lambda session: session.execute(update(Lease).values(due_at=begun + jobs.LEASE)))
    at(seconds=jobs.LEASE.total_seconds() - 1)
    assert not jobs.run(Job("test", PERIOD, work))
    at(seconds=jobs.LEASE.total_seconds() + 1)
    assert jobs.run(Job("test", PERIOD, work))


def test_a_job_that_fails_has_its_turn_again_in_the_next_period(app, work, at):
    def fail() -> None:
        raise Unavailable("The database is busy.")

    at(seconds=0)
    with pytest.raises(Unavailable):
        jobs.run(Job("test", PERIOD, fail))
    assert not jobs.run(Job("test", PERIOD, work))
    at(seconds=11)
    assert jobs.run(Job("test", PERIOD, work))


def test_a_clock_that_was_ahead_does_not_put_a_job_off_for_long(app, work, at):
    at(hours=5)
    jobs.run(Job("test", PERIOD, work))
    at(seconds=0)
    assert jobs.run(Job("test", PERIOD, work))


def test_what_is_due_is_told_by_a_read(app, at):
    at(seconds=0)
    assert [job.name for job in jobs.due()] == [job.name for job in jobs.JOBS]
    for job in jobs.JOBS:
        assert jobs.run(job)
        assert lease(job) == clock.utcnow() + job.period * jobs.EARLY
    assert list(jobs.due()) == []
    at(seconds=6)
    assert {job.name for job in jobs.due()} == {job.name for job in jobs.JOBS if job.period <= timedelta(seconds=5)}


def test_every_job_is_found_by_its_name(app):
    assert len({job.name for job in jobs.JOBS}) == len(jobs.JOBS)
    assert all(jobs.named(job.name) is job for job in jobs.JOBS)


def test_what_has_expired_is_finished_by_its_job(app, accept, delivery, at):
    late = accept(expires_at=clock.utcnow() + timedelta(minutes=1))
    at(minutes=2)
    jobs.run(jobs.named("expire"))
    assert delivery(late).status is DeliveryStatus.EXPIRED
