"""A batch is stored as a whole or not at all, and a receipt with its work, whatever happens to the process."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import func, select

from api.core import batches, keys, notifications, receipts
from api.core.batches import Batch
from api.core.claim import Address
from api.core.db import db
from api.core.errors import Invalid, TwinRunning
from api.core.models import Content, Delivery, Notification
from api.core.receipts import Answer, Receipt, Ticket

ROOT = Path(__file__).parents[2]
SIZE = 300
#: Accepts batch after batch, and tells of each that it has begun and that it was stored.
_CHILD = """
import sys
from api.app import create_app
from api.config import Settings
from api.core import batches, keys
from api.core.claim import Address
from api.core.receipts import Answer, Ticket

app = create_app(Settings(database_url=sys.argv[1], sender="postroom@example.org"))
with app.app_context():
    for number in range(10_000):
        print("begun", number, flush=True)
        ticket = Ticket(keys.operator().id, "test", str(number), "", lambda made: Answer(202, {}, made.batch.id.bytes))
        messages = [{"to": [Address(f"user{one}@example.org")], "tags": ["a"]} for one in range(int(sys.argv[2]))]
        made = batches.accept(
            key=keys.operator(), messages=messages, partly=False, ticket=ticket, subject="Hello", text="Good day.\\n"
        )
        print("stored", made.batch.id, flush=True)
"""


@pytest.mark.parametrize("pause", [0.0, 0.01, 0.02, 0.03, 0.05, 0.08])
def test_a_process_killed_while_it_accepts_a_batch_leaves_all_of_it_or_nothing(app, settings, count, pause):
    stored = _killed_after(settings.database_url, pause)

    sizes = db.session.execute(
        select(Notification.batch_id, func.count(Delivery.id))
        .join(Delivery, Delivery.notification_id == Notification.id)
        .group_by(Notification.batch_id)
    ).all()
    assert {size for _id, size in sizes} <= {SIZE}
    assert {str(id_) for id_, _size in sizes} >= set(stored)
    assert count(Batch) == count(Receipt) == len(sizes)
    assert count(Notification) == count(Content) == count(Delivery) == SIZE * len(sizes)
    assert set(db.session.scalars(select(Receipt.subject_id))) == {id_ for id_, _size in sizes}


def _killed_after(url: str, pause: float) -> list[str]:
    """Kill a process at some point of its second batch or later; return the batches that it called stored."""
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, url, str(SIZE)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    lines = []
    try:
        assert child.stdout is not None
        for line in child.stdout:
            lines.append(line)
            if line.startswith("begun 1"):
                break
        time.sleep(pause)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        rest, _ = child.communicate(timeout=30)
    lines += rest.splitlines()
    assert any(line.startswith("stored") for line in lines)
    return [line.split()[1] for line in lines if line.startswith("stored")]


_TWIN = """
import json, sys
from api.app import create_app
from api.config import Settings
from api.core import keys, notifications, receipts
from api.core.claim import Address
from api.core.errors import TwinRunning
from api.core.receipts import Answer, Ticket

app = create_app(Settings(database_url=sys.argv[1], sender="postroom@example.org"))
with app.app_context():
    print("ready", flush=True)
    sys.stdin.readline()
    won, told = 0, []
    for number in range(20):
        ticket = Ticket(keys.operator().id, "test", str(number), "", lambda made: Answer(202, {}, made.id.bytes))
        try:
            notifications.accept(
                key=keys.operator(), ticket=ticket, to=[Address("ann@example.org")], subject="Hello", text="x"
            )
            won += 1
        except TwinRunning:
            pass
        told.append(receipts.find(ticket).body.hex())
    print(json.dumps([won, told]), flush=True)
"""


def test_twins_in_several_processes_make_one_mail_and_get_one_answer(app, settings, count):
    command = [sys.executable, "-c", _TWIN, settings.database_url]
    twins = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    try:
        for twin in twins:
            assert twin.stdout is not None
            assert twin.stdout.readline() == "ready\n"
        for twin in twins:
            assert twin.stdin is not None
            twin.stdin.write("go\n")
            twin.stdin.flush()
        results = [json.loads(twin.communicate(timeout=60)[0]) for twin in twins]
    finally:
        for twin in twins:
            twin.kill()
            twin.wait()

    assert sum(won for won, _told in results) == 20
    assert all(told == results[0][1] for _won, told in results)
    assert count(Notification) == count(Receipt) == 20


def test_what_fails_inside_the_transaction_leaves_no_receipt(app, count):
    def broken(_result: object) -> Answer:
        raise RuntimeError("anything")

    ticket = Ticket(keys.operator().id, "test", "1", "", broken)
    message = {"to": [Address("ann@example.org")], "subject": "Hello", "text": "x"}
    with pytest.raises(RuntimeError):
        notifications.accept(key=keys.operator(), ticket=ticket, **message)
    with pytest.raises(RuntimeError):
        batches.accept(
            key=keys.operator(), ticket=ticket, partly=False, messages=[{"to": message["to"]}], subject="H", text="x"
        )

    assert receipts.find(ticket) is None
    assert count(Receipt) == count(Notification) == count(Batch) == 0


def test_a_batch_too_large_for_one_transaction_is_refused(app, key, count):
    html = "x" * 512 * 1024
    messages = [{"to": [Address("ann@example.org")]}] * (batches.MAX_CONTENT // len(html) + 1)
    with pytest.raises(Invalid) as refused:
        batches.accept(key=key, messages=messages, partly=True, subject="Hello", html=html)

    assert [error.pointer for error in refused.value.errors] == ["/messages"]
    assert count(Notification) == 0


def test_a_ticket_that_was_used_stores_nothing_again(app, key, count):
    message = {"to": [Address("ann@example.org")], "subject": "Hello", "text": "x"}
    first, again = (Ticket(key.id, "test", "1", "", lambda made: Answer(202, {}, made.id.bytes)) for _ in range(2))
    notifications.accept(key=key, ticket=first, **message)
    with pytest.raises(TwinRunning):
        notifications.accept(key=key, ticket=again, **message)

    assert receipts.find(again) == first.answer
    assert count(Notification) == count(Receipt) == 1
