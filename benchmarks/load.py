"""Clients that post mails: wrk where it is installed, and the generator of this file, which can also keep to a rate.

`python -m benchmarks.load URL SECONDS [--rate N] [--most N] [--clients N]`, with KEY and BODY in the environment.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.processes import PATIENCE, environment, module

WRK = shutil.which("wrk")
CLIENTS = 16
#: About 600 octets. Where NUMBER stands, the number of the request is put: each mail goes to somebody else.
BODY = json.dumps(
    {
        "to": [{"email": "userNUMBER@recipient.example", "name": "Ann Example"}],
        "subject": "Your order NUMBER is on its way",
        "text": "Good day,\n\nyour order has left our house and should be with you tomorrow.\n"
        + "Few more words. " * 14,
        "html": "<p>Good day,</p><p>your order has left our house.</p>",
        "tags": ["orders"],
        "metadata": {"order": "NUMBER"},
    }
)


@dataclass(frozen=True, slots=True)
class Answers:
    """What clients got in so many seconds: answers by status, connections that broke, and latencies in ms."""

    seconds: float
    codes: Mapping[str, int]
    broken: int
    p50: float
    p99: float
    longest: float

    @property
    def accepted(self) -> int:
        return self.codes.get("202", 0)

    @property
    def rate(self) -> float:
        return self.accepted / self.seconds


def flood(url: str, key: str, seconds: float) -> Answers:
    """Have `CLIENTS` clients post one mail after the other, as fast as they are answered."""
    if WRK:
        script = str(Path(__file__).with_name("wrk.lua"))
        options = ["-t1", f"-c{CLIENTS}", f"-d{max(1, round(seconds))}s", "--timeout", "10s", "-s", script]
        return _answers([WRK, *options, url], key)
    return _answers(module("load", url, seconds), key)


def steady(url: str, key: str, seconds: float, *, rate: float) -> Answers:
    """Have mails posted at a rate."""
    return _answers(module("load", url, seconds, "--rate", rate), key)


def some(url: str, key: str, number: int) -> Answers:
    """Have so many mails posted, to recipients numbered from 1."""
    return _answers(module("load", url, PATIENCE, "--most", number), key)


def _answers(command: list[str], key: str) -> Answers:
    env = environment({"KEY": key, "BODY": BODY})
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return Answers(**json.loads(done.stdout.splitlines()[-1]))


class Clients:
    """Connections that share a counter, a clock and a book of answers."""

    def __init__(self, url: str, seconds: float, rate: float | None, most: int | None) -> None:
        self._url = urlsplit(url)
        self._begun = time.monotonic()
        self._end = self._begun + seconds
        self._rate = rate
        self._most = most
        self._number = 0
        self._codes: Counter[str] = Counter()
        self._times: list[float] = []
        self._broken = 0

    async def run(self, clients: int) -> Answers:
        await asyncio.gather(*(self._client() for _ in range(clients)))
        times = sorted(self._times) or [0.0]
        return Answers(
            time.monotonic() - self._begun,
            dict(self._codes),
            self._broken,
            times[len(times) // 2] * 1e3,
            times[int(len(times) * 0.99)] * 1e3,
            times[-1] * 1e3,
        )

    async def _client(self) -> None:
        reader, writer = await asyncio.open_connection(self._url.hostname, self._url.port)
        try:
            while (number := self._next()) is not None:
                if self._rate:
                    await asyncio.sleep(max(0.0, self._begun + number / self._rate - time.monotonic()))
                began = time.perf_counter()
                writer.write(self._request(number))
                self._codes[await _status(reader)] += 1
                self._times.append(time.perf_counter() - began)
        except (OSError, asyncio.IncompleteReadError):
            self._broken += 1
        finally:
            writer.close()

    def _next(self) -> int | None:
        if time.monotonic() >= self._end or (self._most is not None and self._number >= self._most):
            return None
        self._number += 1
        return self._number

    def _request(self, number: int) -> bytes:
        body = os.environ["BODY"].replace("NUMBER", str(number)).encode()
        head = (
            f"POST {self._url.path} HTTP/1.1\r\nHost: {self._url.netloc}\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {os.environ['KEY']}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


async def _status(reader: asyncio.StreamReader) -> str:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(int(length.partition(b":")[2]))
    return head[9:12].decode()


def main() -> None:
    parser = argparse.ArgumentParser(description="Post mails.")
    parser.add_argument("url")
    parser.add_argument("seconds", type=float)
    parser.add_argument("--rate", type=float, help="mails per second, all clients together")
    parser.add_argument("--most", type=int, help="end after so many mails")
    parser.add_argument("--clients", type=int, default=CLIENTS)
    given = parser.parse_args()
    clients = Clients(given.url, given.seconds, given.rate, given.most)
    print(json.dumps(asdict(asyncio.run(clients.run(given.clients)))))


if __name__ == "__main__":
    main()
