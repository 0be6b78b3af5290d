"""The load: clients that post over kept connections, each message with an identity and a recipient of its own."""

import json
import threading
import time
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any

from tests.e2e.server import PATIENCE, Server

#: Seconds until a client knocks again where nobody listens.
_KNOCK_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Post:
    """One message that was posted, and the answer: no status where the connection ended without one."""

    number: int
    status: int | None


def recipient(number: int) -> str:
    """Return whom a message goes to."""
    return f"m{number}@example.org"


@dataclass(frozen=True, slots=True)
class Request:
    """How a message is posted; a named one carries its name as Idempotency-Key."""

    path: str
    body: dict[str, Any]
    name: str
    is_named: bool


def request_of(number: int) -> Request:
    """Return how this message is posted: each way to have mail sent in turn, with a name and without."""
    to, metadata = recipient(number), {"number": str(number)}
    content = {"subject": f"Message {number}", "text": f"This is message {number}.\n" * 10}
    ways: list[tuple[str, dict[str, Any]]] = [
        ("/v1/notifications", {"to": to, **content, "metadata": metadata}),
        ("/v1/users", {"username": f"m{number}", "email": to}),
        ("/v1/batches", {**content, "messages": [{"to": to, "metadata": metadata}]}),
    ]
    path, body = ways[number % len(ways)]
    return Request(path, body, f"message {number}", is_named=number % 2 == 0)


class Load:
    """So many messages, posted by some clients at once, as far as is allowed."""

    def __init__(self, server: Server, messages: int, *, clients: int) -> None:
        self.posts: list[Post] = []
        self._server = server
        self._messages = messages
        self._taken = self._allowed = 0
        self._moved = threading.Condition()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._work, name=f"client-{each}") for each in range(clients)]

    def start(self) -> None:
        """Begin posting what is allowed."""
        for thread in self._threads:
            thread.start()

    def allow(self, messages: int) -> None:
        """Let so many messages be posted in all."""
        with self._moved:
            self._allowed = min(self._messages, max(self._allowed, messages))
            self._moved.notify_all()

    def wait_for(self, messages: float, *, until: float) -> bool:
        """Return once so many were begun, or False at a time (monotonic seconds)."""
        with self._moved:
            return self._moved.wait_for(lambda: self._taken >= messages, max(0.0, until - time.monotonic()))

    def finish(self) -> None:
        """Let everything be posted, and return when it is."""
        self.allow(self._messages)
        for thread in self._threads:
            thread.join()

    def stop(self) -> None:
        """Begin nothing more, and return when what was begun is over."""
        with self._moved:
            self._messages = self._taken
        self._over.set()
        self.finish()

    def _work(self) -> None:
        client = _Client(self._server, self._over)
        while (number := self._take()) is not None:
            if (post := client.post(number)) is not None:
                self.posts.append(post)
        client.close()

    def _take(self) -> int | None:
        with self._moved:
            self._moved.wait_for(lambda: self._taken < self._allowed or self._taken >= self._messages)
            if self._taken >= self._messages:
                return None
            self._taken += 1
            self._moved.notify_all()
            return self._taken


class _Client:
    def __init__(self, server: Server, over: threading.Event) -> None:
        self._server = server
        self._over = over
        self._connection: HTTPConnection | None = None
        self._port = 0

    def post(self, number: int) -> Post | None:
        """Post one message, as soon as somebody listens; without a name, what was not answered is not sent again.

        None where nobody listened until the load was over.
        """
        request = request_of(number)
        status, heard = None, False
        # Who named a request sends it again until it is answered: the name keeps it from being done twice.
        while not heard and (connection := self._connected()) is not None:
            status = self._send(connection, request)
            heard = status is not None or not request.is_named
        return Post(number, status) if heard else None

    def _send(self, connection: HTTPConnection, request: Request) -> int | None:
        """Return the answer's status, None where the connection ended without one."""
        name = {"Idempotency-Key": request.name} if request.is_named else {}
        headers = {"Authorization": f"Bearer {self._server.key}", "Content-Type": "application/json", **name}
        try:
            connection.request("POST", request.path, json.dumps(request.body), headers)
            response = connection.getresponse()
            response.read()
        except (OSError, HTTPException):
            self.close()
            return None
        return response.status

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> HTTPConnection | None:
        if self._connection is not None and self._port == self._server.port:
            return self._connection
        self.close()
        while not self._over.is_set():
            self._port = self._server.port
            connection = HTTPConnection(self._server.host, self._port, timeout=PATIENCE)
            try:
                connection.connect()
            except OSError:
                self._over.wait(_KNOCK_SECONDS)
            else:
                self._connection = connection
                return connection
        return None
