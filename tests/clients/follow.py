"""Registers, sends and follows with a client made from the document: run in the environment that has its libraries."""

import json
import os
import time
import uuid

from postroom_client import AuthenticatedClient
from postroom_client.api.notifications import get_notification, list_notifications, send_notification
from postroom_client.api.users import register_user
from postroom_client.models import (
    ListNotificationsStatus,
    Mailbox,
    NotificationAccepted,
    NotificationIn,
    NotificationOut,
    NotificationOutStatus,
    NotificationPage,
    Problem,
    Registered,
    RegisteredOut,
    UserIn,
)

OPEN = {
    NotificationOutStatus.SCHEDULED,
    NotificationOutStatus.QUEUED,
    NotificationOutStatus.SENDING,
    NotificationOutStatus.DEFERRED,
}

client = AuthenticatedClient(base_url=os.environ["POSTROOM_URL"], token=os.environ["POSTROOM_KEY"])

user = register_user.sync(client=client, body=UserIn(username="ann", email="ann@example.org"))
assert isinstance(user, RegisteredOut), user
message = NotificationIn(
    to=["bob@example.org", Mailbox(email="eve@example.org", name="Eve"), Registered(user_id=user.id)],
    subject="Hello",
    text="Good day.\n",
    tags=["clients"],
)
sent = send_notification.sync(client=client, body=message, idempotency_key=str(uuid.uuid4()))
assert isinstance(sent, NotificationAccepted), sent
status = sent
while status.status in OPEN:
    time.sleep(0.2)
    read = get_notification.sync(status.id, client=client)
    assert isinstance(read, NotificationOut), read
    status = read

listed = list_notifications.sync(client=client, tag="clients", status=ListNotificationsStatus.SENT, limit=1)
assert isinstance(listed, NotificationPage), listed
wrong = send_notification.sync(client=client, body=NotificationIn(to="nobody", subject="x", text="y"))
assert isinstance(wrong, Problem), wrong
print(  # noqa: T201 -- what the test reads
    json.dumps(
        {
            "status": status.status.value,
            "recipients": [one.recipient for one in status.deliveries],
            "codes": [one.history[-1].code for one in status.deliveries],
            "listed": [str(one.id) for one in listed.data],
            "id": str(status.id),
            "wrong": [one.pointer for one in wrong.errors],
        }
    )
)
