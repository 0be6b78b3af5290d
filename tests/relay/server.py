"""The relay's process: `python -m tests.relay.server --port 0 --log FILE [--script FILE] [--certificates DIR]`.

It binds 127.0.0.1 alone, prints `ready <port>` and then obeys one JSON object a line on its standard input, and answers
each with `ok` or `error …`: what an order changed holds for every step after its answer was read. It ends with that
input.
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from tests.relay.journal import Journal
from tests.relay.rulebook import Rulebook
from tests.relay.script import Script, decode_rule, loads
from tests.relay.session import Session
from tests.relay.settings import Settings
from tests.relay.station import Station

HOST = "127.0.0.1"
#: A client that has just been accepted takes a few rounds of the event loop until its first bytes are seen.
_QUIET_ROUNDS = 10
#: Under load there is no quiet; what was sent before is read within so many rounds.
_ROUNDS_AT_MOST = 300


class Server:
    """The listener and the control of one relay; the port stays taken while nobody listens on it."""

    def __init__(self, station: Station, port: int) -> None:
        self._station = station
        self._listener: asyncio.Server | None = None
        self._stopped = asyncio.Event()
        # Bound and never listening: nobody else gets the port, and connecting to it is refused.
        self._placeholder = _bind(port)
        self.port: int = self._placeholder.getsockname()[1]

    async def listen(self) -> None:
        """Accept connections, if that was not so already."""
        if self._listener is None:
            loop = asyncio.get_running_loop()
            self._listener = await loop.create_server(
                lambda: Session(self._station), sock=_bind(self.port), backlog=1024
            )

    def refuse(self) -> None:
        """Refuse connections; those that are open stay."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def stop(self) -> None:
        """End the process soon."""
        self._stopped.set()

    async def run(self) -> None:
        """Wait for the end, and leave nothing open."""
        await self._stopped.wait()
        self.refuse()
        self._placeholder.close()
        for wire in tuple(self._station.wires):
            wire.drop()
        await self._sync()

    async def obey(self, line: bytes) -> None:
        """Carry out one control line and answer it on standard output."""
        try:
            order = json.loads(line)
            await self._carry_out(order.pop("do"), order)
            answer = "ok"
        except (ValueError, TypeError, KeyError, OSError) as error:
            answer = f"error {error!r}".replace("\n", " ")
        _tell(answer)

    async def _carry_out(self, do: str, order: dict[str, Any]) -> None:
        if do in ("rules", "settings", "register"):
            self._rewrite(do, order)
            return
        match do:
            case "listen":
                await self.listen()
            case "refuse":
                self.refuse()
            case "disconnect":
                self._disconnect(order["farewell"])
            case "stop":
                self.stop()
            case "sync":
                await self._sync()
            case _:
                raise ValueError(f"no such order: {do}")

    def _rewrite(self, do: str, order: dict[str, Any]) -> None:
        if do == "rules":
            rules = [decode_rule(rule) for rule in order["rules"]]
            self._station.rulebook = Rulebook(rules, seed=order["seed"])
        elif do == "settings":
            self._station.settings = Settings.decode(order["settings"])
        else:
            self._station.processes[order["name"]] = order["pid"]

    def _disconnect(self, farewell: str | None) -> None:
        for wire in tuple(self._station.wires):
            if farewell is None:
                wire.reset()
            else:
                wire.put(farewell.encode() + b"\r\n")
                wire.close()

    async def _sync(self) -> None:
        """Return when all that clients had sent before has been read, and what came of it is in the log."""
        quiet = 0
        for _ in range(_ROUNDS_AT_MOST):
            seen = self._station.activity
            await asyncio.sleep(0)
            quiet = quiet + 1 if seen == self._station.activity else 0
            if quiet == _QUIET_ROUNDS:
                break
        self._station.journal.flush()


def _bind(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((HOST, port))
    return sock


def _tell(line: str) -> None:
    os.write(1, line.encode() + b"\n")


def _listen_to_control(server: Server, loop: asyncio.AbstractEventLoop, *, stay: bool) -> None:
    """Read orders in this thread: any kind of file can be standard input, and not every kind can be polled."""
    pending = b""
    while data := os.read(0, 65536):
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            asyncio.run_coroutine_threadsafe(server.obey(line), loop).result()
    if not stay:
        loop.call_soon_threadsafe(server.stop)


async def serve(arguments: argparse.Namespace) -> bool:
    """Run a relay until its standard input ends or a signal comes; return whether the relay itself was at fault."""
    journal = Journal(arguments.log, full=arguments.log_level == "full", fsync=arguments.fsync)
    station = Station(journal, arguments.certificates, connections=arguments.connections)
    station.follow(loads(arguments.script.read_text()) if arguments.script else Script())
    server = Server(station, arguments.port)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: station.fail(context.get("exception") or context["message"]))
    await server.listen()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    control = threading.Thread(
        target=_listen_to_control, args=(server, loop), kwargs={"stay": arguments.stay}, daemon=True
    )
    _tell(f"ready {server.port}")
    control.start()
    await server.run()
    return station.failed


def main() -> int:
    """Read the command line and serve; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--log-level", choices=("full", "counts"), default="full")
    parser.add_argument("--fsync", action="store_true", help="also force each accepted message to the disk")
    parser.add_argument("--script", type=Path)
    parser.add_argument("--certificates", type=Path, default=Path(), help="where good.pem and the others are")
    parser.add_argument("--connections", type=int, default=0, help="how many are in the log already")
    parser.add_argument("--stay", action="store_true", help="go on when standard input ends")
    return int(asyncio.run(serve(parser.parse_args())))


if __name__ == "__main__":
    sys.exit(main())
