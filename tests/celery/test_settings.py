"""What Celery is told of the way to the broker."""

import json
import subprocess
import sys

import pytest

from tests.e2e.server import environment

_SHOW = (
    "import json; from api.celery_app import app; c = app.conf; "
    "p = app.connection_for_write().ssl or {}; "
    "print(json.dumps([c.broker_transport_options, {k: str(v) for k, v in p.items()}, c.accept_content, "
    "c.result_backend, c.task_acks_late, c.task_ignore_result]))"
)


def shown(url: str) -> list:
    done = subprocess.run(
        [sys.executable, "-c", _SHOW],
        env=environment(POSTROOM_SENDER="a@example.org", POSTROOM_BROKER_URL=url),
        capture_output=True,
        text=True,
        check=True,
    )
    return list(json.loads(done.stdout))


def test_redis_by_tls_has_its_certificate_and_name_checked():
    _, parameters, *_ = shown("rediss://:secret@broker.example.org:6380/0")
    assert parameters == {"ssl_cert_reqs": "2", "ssl_check_hostname": "True"}


@pytest.mark.parametrize("url", ["redis://127.0.0.1:6379/0", "amqp://guest:guest@127.0.0.1//"])
def test_no_result_is_kept_and_nothing_is_pickled(url):
    options, _, accepted, results, late, ignored = shown(url)
    assert (accepted, results, late, ignored) == (["json"], None, True, True)
    # RabbitMQ's client would not know what to do with these.
    assert ("visibility_timeout" in options) == url.startswith("redis")
