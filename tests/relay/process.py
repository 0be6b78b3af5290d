"""The test's handle on a relay: its process, its script, and what it took and saw.

    with Relay(tmp_path) as relay:                      # on a free port of 127.0.0.1
        send(host=relay.host, port=relay.port)
        [message] = relay.wait_for(1)
        assert message.recipients == ("ann@example.org",)
        assert message.parsed["Subject"] == "Hello"

Misbehaviour, by phase and recipient (see `script.Rule` and `actions`); what held before is replaced:

    relay.script(
        Rule("rcpt", reply("450 4.2.0 greylisted"), recipient="bob@*", times=1),
        Rule("dot", drop(), probability=0.1),
        seed=7,
    )
    relay.script()                                      # behave again

Ordinary behaviour, TLS and its faults (see `settings.Settings`); what is not named stays:

    relay.configure(tls="starttls", users={"ann": "secret"}, auth_required=True)
    client.trust(relay.ca_file)
    relay.configure(certificate="expired")              # or wrong_name, unknown_ca
    relay.configure(tls="none")                         # STARTTLS stripped
    relay.configure(tls_maximum="TLSv1_1", pipelining=False, latency_ms=20)

Trouble of the whole relay, and of its clients:

    relay.refuse(); relay.listen()                      # connection refused, and back on the same port
    relay.pause(); relay.resume()                       # SIGSTOP, SIGCONT
    relay.disconnect("421 4.3.2 shutting down")         # every open connection; None resets them
    relay.stop(); relay.start()                         # a restart, on the same port and log
    relay.reset()                                       # as new: quicker between tests than a process for each
    relay.register("dispatcher", process.pid)
    relay.script(Rule("after_dot", kill("dispatcher"), after=20, times=1))      # or kill("peer")

What a call changed holds for every later step when it returns; a script changed before `start` holds from the start.
What clients had sent before `messages`, `commands`, `violations` and the like are called is in their answer, unless a
rule holds it up.
"""

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from tests.relay import records
from tests.relay.certificates import Certificates, make
from tests.relay.child import Child
from tests.relay.records import Command, Connection, Kill, Log, Message, Violation
from tests.relay.script import Rule, Script, encode


class Relay:
    """A relay in its own process, running inside `with` or between `start` and `stop`.

    Files are made in `directory`. At log level `counts` no dialogue and no content is logged, for speed; `settings` are
    those of `configure`. Raises RuntimeError when the relay is dead, paused, not started, or refuses an order. Threads
    may share it.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        directory: Path,
        *rules: Rule,
        log_level: Literal["full", "counts"] = "full",
        fsync: bool = False,
        **settings: Any,
    ) -> None:
        #: Known once started, and kept over a restart.
        self.port = 0
        self._directory = directory.resolve() / "relay"
        self._directory.mkdir(parents=True, exist_ok=True)
        self._options = ["--log-level", log_level, *(["--fsync"] if fsync else [])]
        self._script = Script(rules=rules)
        self._certificates: Certificates | None = None
        self._child: Child | None = None
        self._log = Log(self._directory / "log.jsonl")
        self._reading = threading.Lock()
        self._set(settings)
        self._first = replace(self._script, rules=())

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The relay's process id."""
        return self._running().pid

    @property
    def certificates(self) -> Certificates:
        """The CA and the server's certificates, made when first asked for."""
        if self._certificates is None:
            self._certificates = make(self._directory / "certificates")
        return self._certificates

    @property
    def ca_file(self) -> Path:
        """What a client must trust for the certificate `good` to be good."""
        return self.certificates.ca_file

    def start(self) -> Self:
        """Start the process and wait until it listens; after `stop` on the same port, with the same script and log."""
        script, log = self._directory / "script.json", self._directory / "log.jsonl"
        script.write_text(json.dumps(encode(self._script)))
        files = ("--log", log, "--script", script, "--certificates", self._directory / "certificates")
        so_far = str(len(self.connections()))
        self._child = Child(["--port", str(self.port), "--connections", so_far, *self._options, *files])
        self.port = self._child.port
        return self

    def stop(self) -> None:
        """End the process, if it runs. Raises RuntimeError when the relay itself was at fault; see its stderr."""
        child, self._child = self._child, None
        if child is not None and (status := child.stop()) != 0:
            raise RuntimeError(f"the relay ended with status {status}")

    def reset(self) -> None:
        """Become as new: no rules, the settings of the start, listening, nobody connected, and nothing on record."""
        self.resume()
        self.listen()
        self.script()
        self._script = self._first
        self._running().order("settings", settings=encode(self._first.settings))
        self.disconnect()
        self._read().forget()

    def script(self, *rules: Rule, seed: int = 0) -> None:
        """Replace the rules, their hits uncounted."""
        self._script = replace(self._script, rules=rules, seed=seed)
        self._tell("rules", rules=[encode(rule) for rule in rules], seed=seed)

    def configure(self, **settings: Any) -> None:
        """Change some settings; hits stay counted. Raises TypeError for an unknown one, ValueError for a wrong word."""
        self._set(settings)
        self._tell("settings", settings=encode(self._script.settings))

    def register(self, name: str, pid: int) -> None:
        """Name a process that rules may kill."""
        self._script = replace(self._script, processes={**self._script.processes, name: pid})
        self._tell("register", name=name, pid=pid)

    def refuse(self) -> None:
        """Refuse new connections; those that are open stay."""
        self._running().order("refuse")

    def listen(self) -> None:
        """Accept connections again."""
        self._running().order("listen")

    def disconnect(self, farewell: str | None = None) -> None:
        """Close every open connection, with a last reply line or else by a reset."""
        self._running().order("disconnect", farewell=farewell)

    def pause(self) -> None:
        """Stop the process in its tracks: connections are made by the kernel, and nothing answers."""
        self._running().pause()

    def resume(self) -> None:
        """Let a paused relay go on."""
        self._running().resume()

    def messages(self) -> list[Message]:
        """Return what was accepted, in order."""
        return list(self._read().messages)

    def wait_for(self, count: int, *, timeout: float = 10.0) -> list[Message]:
        """Return the messages once there are `count` or more. Raises TimeoutError, with the dialogue, after seconds."""
        deadline = time.monotonic() + timeout
        while len(messages := self._look().messages) < count:
            if time.monotonic() > deadline:
                talk = "\n".join(self.dialogue()[-60:])
                raise TimeoutError(f"{len(messages)} of {count} messages after {timeout} s\n{talk}")
            time.sleep(0.01)
        return list(messages)

    def wait_until_idle(self, *, timeout: float = 10.0) -> None:
        """Return once no connection is open. Raises TimeoutError after seconds."""
        deadline = time.monotonic() + timeout
        while open_now := [each.number for each in self.connections() if each.closed is None]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"connections {open_now} are open after {timeout} s")
            time.sleep(0.01)

    def commands(self, connection: int | None = None) -> list[Command]:
        """Return every line that was sent outside of content, in order (of one connection: its number)."""
        every = records.commands(self._read().of("command"))
        return [command for command in every if connection in (None, command.connection)]

    def dialogue(self) -> list[str]:
        """Return everything that happened as lines to read: `1 C: MAIL FROM:<a@b>`, `1 S: 250 …`, `1 ! fault {…}`."""
        return records.dialogue(self._read().events)

    def connections(self) -> list[Connection]:
        """Return every connection, in the order of their opening."""
        return records.connections(self._read().events)

    def concurrency(self) -> int:
        """Return how many connections were open at once, at most."""
        return records.concurrency(self._read().events)

    def violations(self) -> list[Violation]:
        """Return what clients did against the protocol: see `manners`, `content.flaws` and `session`."""
        return [Violation(each["connection"], each["kind"], each["detail"]) for each in self._read().of("violation")]

    def faults(self) -> list[str]:
        """Return the phase of each misbehaviour that took place, in order."""
        return [event["phase"] for event in self._read().of("fault")]

    def kills(self) -> list[Kill]:
        """Return the kills that rules asked for, in order."""
        names = ("at", "connection", "target", "pid", "found")
        return [Kill(*(event[name] for name in names)) for event in self._read().of("kill")]

    def _read(self) -> Log:
        # A relay that is paused or stopped has nothing to add to its log.
        if self._child is not None and not self._child.paused:
            self._child.order("sync")
        return self._look()

    def _look(self) -> Log:
        with self._reading:
            self._log.read()
        return self._log

    def _set(self, settings: dict[str, Any]) -> None:
        changed = replace(self._script.settings, **settings)
        if changed.tls != "none":
            _ = self.certificates  # the relay needs the files
        self._script = replace(self._script, settings=changed)

    def _tell(self, do: str, **facts: object) -> None:
        # A relay that is not started finds it in its script when it is.
        if self._child is not None:
            self._child.order(do, **facts)

    def _running(self) -> Child:
        if self._child is None:
            raise RuntimeError("the relay is not started")
        return self._child
