"""Limits of a server with several processes: one count, whichever of them answers."""

from concurrent.futures import ThreadPoolExecutor

from tests.e2e.test_delivery import message


def test_worker_processes_share_a_count_in_the_database(start):
    server = start(
        "serve",
        *("--workers", "3"),
        POSTROOM_LIMIT_STORE="database",
        POSTROOM_RATE_LIMIT="40/hour",
        POSTROOM_RECIPIENT_LIMIT="5/hour",
        POSTROOM_DISPATCH="none",
        ready=False,
    )
    server.wait_until_up("/healthz")
    with ThreadPoolExecutor(8) as pool:
        sent = list(pool.map(lambda _: server.post("/v1/notifications", message()), range(20)))
        asked = list(pool.map(lambda _: server.get("/v1/notifications"), range(60)))

    statuses = [answer.status for answer in sent]
    assert (statuses.count(202), statuses.count(429)) == (5, 15)
    refused = next(answer for answer in sent if answer.status == 429)
    assert 0 < int(refused.headers["Retry-After"]) <= 3600
    statuses = [answer.status for answer in asked]
    assert (statuses.count(200), statuses.count(429)) == (20, 40)
    assert server.get("/healthz").status == 200
