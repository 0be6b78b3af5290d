"""A crowd that keeps a server's connections and asks little of its processor: slow senders, waiters, followers.

    python -m benchmarks.crowd PORT KEY NOTIFICATION SLOW WAITING FOLLOWING

Prints `ready` once everybody has begun, and as its last line, after its standard input was closed, what it was
answered: a JSON object of counts.
"""

import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable

#: Seconds between two octets of a slow sender, and octets of its body: no two of them end at once.
_DRIP, _BODY = 0.1, range(150, 650)
#: One slow sender in so many drips its header instead of its body.
_HEADERS = 4
_WAIT = 20
#: Seconds until somebody asks again who could not wait, as the answer's Retry-After says.
_PAUSE = 2

Turn = Callable[["Crowd"], Awaitable[None]]


class Crowd:
    """Everybody, and what they were answered."""

    def __init__(self, port: int, key: str, notification: str) -> None:
        self.port = port
        self.key = key
        self.path = f"/v1/notifications/{notification}"
        self.answers: Counter[str] = Counter()
        self.begun = 0
        self.tasks: list[asyncio.Task[None]] = []

    def head(self, method: str, path: str, *more: str) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {self.key}", *more]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def add(self, count: int, turn: Turn) -> None:
        """Let so many take this turn again and again."""
        self.tasks += [asyncio.create_task(self._again(turn)) for _ in range(count)]

    async def all_begun(self) -> None:
        while self.begun < len(self.tasks):
            await asyncio.sleep(0.01)

    async def _again(self, turn: Turn) -> None:
        while True:
            try:
                await turn(self)
            except OSError as error:
                self.answers[type(error).__name__] += 1
                await asyncio.sleep(1)


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> str:
    """Send an octet now and then; return the answer's status."""
    for octet in data:
        if reader.at_eof():
            return "cut"
        writer.write(bytes([octet]))
        await writer.drain()
        await asyncio.sleep(_DRIP)
    return await status(reader)


async def status(reader: asyncio.StreamReader) -> str:
    line = await reader.readline()
    return line.split()[1].decode() if line else "cut"


async def send_slowly(crowd: Crowd, *, header: bool) -> None:
    body = json.dumps(
        {"to": "slow@recipient.example", "subject": "Slow", "text": "x" * (random.choice(_BODY) - 70)}
    ).encode()
    head = crowd.head("POST", "/v1/notifications", "Content-Type: application/json", f"Content-Length: {len(body)}")
    reader, writer = await asyncio.open_connection("127.0.0.1", crowd.port)
    try:
        at = 40 if header else len(head)
        writer.write(head[:at])
        await writer.drain()
        crowd.begun += 1
        kind = "slow header" if header else "slow body"
        crowd.answers[f"{kind}: {await drip(reader, writer, head[at:] + body)}"] += 1
    finally:
        writer.close()


async def wait_for_change(crowd: Crowd) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", crowd.port)
    try:
        writer.write(crowd.head("GET", crowd.path, f"Prefer: wait={_WAIT}", "Connection: close"))
        await writer.drain()
        crowd.begun += 1
        found = await status(reader)
        held = "preference-applied" in (await reader.read()).decode().lower()
        crowd.answers[f"waiter: {found}{'' if held else ', at once'}"] += 1
        await asyncio.sleep(0 if held else _PAUSE)
    finally:
        writer.close()


async def follow(crowd: Crowd) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", crowd.port)
    try:
        writer.write(crowd.head("GET", f"{crowd.path}/events", "Accept: text/event-stream"))
        await writer.drain()
        crowd.answers[f"follower: {await status(reader)}"] += 1
        crowd.begun += 1
        while await reader.read(4096):
            pass
    finally:
        writer.close()


async def gather(crowd: Crowd, slow: int, waiting: int, following: int) -> None:
    crowd.add(slow // _HEADERS, lambda crowd: send_slowly(crowd, header=True))
    crowd.add(slow - slow // _HEADERS, lambda crowd: send_slowly(crowd, header=False))
    crowd.add(waiting, wait_for_change)
    crowd.add(following, follow)
    await crowd.all_begun()
    # Until what was sent has been read.
    await asyncio.sleep(1)
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for task in crowd.tasks:
        task.cancel()
    await asyncio.gather(*crowd.tasks, return_exceptions=True)
    print(json.dumps(crowd.answers), flush=True)


def main() -> None:
    port, key, notification, *sizes = sys.argv[1:]
    slow, waiting, following = map(int, sizes)
    asyncio.run(gather(Crowd(int(port), key, notification), slow, waiting, following))


if __name__ == "__main__":
    main()
