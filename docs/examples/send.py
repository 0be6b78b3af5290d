"""Sends one mail and follows it until every recipient is finished: python send.py ann@example.org.

Needs nothing but Python; POSTROOM_URL and POSTROOM_KEY say where and with which key.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from typing import Any

OPEN = {"scheduled", "queued", "sending", "deferred"}


def ask(url: str, body: Any = None, **headers: str) -> tuple[Any, Any]:
    """Return the JSON and the headers of an answer; wait and ask again where the server says when."""
    given = {"Authorization": f"Bearer {os.environ['POSTROOM_KEY']}", "Content-Type": "application/json", **headers}
    data = None if body is None else json.dumps(body).encode()
    while True:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data, given), timeout=30) as answer:
                return json.load(answer), answer.headers
        except urllib.error.HTTPError as error:
            problem = json.load(error)
            if error.code not in (429, 503):
                raise SystemExit(f"{problem['title']}: {problem['detail']} {problem.get('errors', '')}") from None
            time.sleep(int(error.headers["Retry-After"]))


def send(message: dict[str, Any]) -> Any:
    """Send a message, and return how it stands once every recipient is finished."""
    # Should the answer be lost, the same request under the same name sends nothing twice.
    name = {"Idempotency-Key": str(uuid.uuid4())}
    status, headers = ask(f"{os.environ['POSTROOM_URL']}/v1/notifications", message, **name)
    where = headers["Location"]
    while status["status"] in OPEN:
        time.sleep(min(int(headers.get("Retry-After", 1)), 5))
        status, headers = ask(where)
    return status


if __name__ == "__main__":
    done = send({"to": sys.argv[1:], "subject": "Your order", "text": "It has left the house.\n"})
    for delivery in done["deliveries"]:
        print(delivery["recipient"], delivery["status"], delivery["history"][-1]["reply"])
    print(done["status"])
    sys.exit(done["status"] != "sent")
