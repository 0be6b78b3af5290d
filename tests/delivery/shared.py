"""A relay that many tests use one after the other, as if each had its own: starting one takes a fifth of a second."""

from dataclasses import fields, replace
from typing import Any

from tests.relay.process import Relay
from tests.relay.records import Log
from tests.relay.settings import Settings


class SharedRelay(Relay):
    """A relay whose log shows only what happened since `begin`, its connections numbered from 1 again."""

    _events = _messages = _connections = 0

    def begin(self) -> None:
        """Behave again, and forget all that was."""
        self.listen()
        self.script()
        self.configure(**{field.name: getattr(Settings(), field.name) for field in fields(Settings)})
        self.disconnect()
        self.wait_until_idle()
        whole = super()._read()
        self._events, self._messages = len(whole.events), len(whole.messages)
        self._connections = max((event["connection"] for event in whole.events), default=0)

    def _read(self) -> Log:
        whole = super()._read()
        seen = object.__new__(Log)
        seen.events = [self._renumbered(event) for event in whole.events[self._events :]]
        seen.messages = [
            replace(message, connection=message.connection - self._connections)
            for message in whole.messages[self._messages :]
        ]
        return seen

    def _renumbered(self, event: dict[str, Any]) -> dict[str, Any]:
        return event | {"connection": event["connection"] - self._connections}
