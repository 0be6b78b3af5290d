"""A fast SMTP server that takes everything and records it: a program of its own, `python -m benchmarks.sink`.

It prints its port, serves until its standard input ends, and then prints how much came and when as a line of JSON.
`--delay` makes a network of loopback: each group of replies leaves that many seconds after what it answers came.
With `--pem` it offers STARTTLS, and takes mail only after it and AUTH.
"""

import argparse
import asyncio
import contextlib
import json
import ssl
import sys
import time
from pathlib import Path
from typing import BinaryIO

_OK = b"250 2.0.0 Ok\r\n"
_CLOSING = 221


class Book:
    """What has come: the messages in a file, the rest as figures."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.messages = self.connections = self.open = self.most_open = 0
        self.first = self.last = 0.0

    def connected(self) -> None:
        self.connections += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        self.first = self.first or time.monotonic()

    def disconnected(self) -> None:
        self.open -= 1

    def add(self, recipients: list[bytes], body: bytes) -> None:
        """Append a record: a line with the recipients and the body's octets, and the body as it was on the wire."""
        self._file.write(b"%b %d\n" % (b",".join(recipients), len(body)))
        self._file.write(body)
        self.messages += 1
        self.last = time.monotonic()

    def figures(self) -> str:
        return json.dumps({name: value for name, value in vars(self).items() if name[0] != "_"})


class Session(asyncio.Protocol):
    """One connection."""

    def __init__(self, book: Book, delay: float, context: ssl.SSLContext | None) -> None:
        self._book, self._delay, self._context = book, delay, context
        self._loop = asyncio.get_running_loop()
        self._input = bytearray()
        self._output = bytearray()
        self._recipients: list[bytes] = []
        self._in_data = self._secure = self._greeted = False
        self._expects_password = 0
        self._transport: asyncio.Transport | None = None
        self._upgrade: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if not self._greeted:
            self._greeted = True
            self._book.connected()
            self._output += b"220 sink ESMTP\r\n"
            self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        self._book.disconnected()

    def data_received(self, data: bytes) -> None:
        self._input += data
        while self._step():
            pass
        self._flush()

    def _step(self) -> bool:
        """Take one command, or one message; False when it has not come whole."""
        if self._in_data:
            return self._message()
        end = self._input.find(b"\r\n")
        if end < 0 or self._upgrade is not None:
            return False
        line = bytes(self._input[:end])
        del self._input[: end + 2]
        if self._expects_password:
            self._password()
        else:
            self._command(line[:4].upper(), line)
        return True

    def _message(self) -> bool:
        if self._input.startswith(b".\r\n"):
            end = 0
        else:
            found = self._input.find(b"\r\n.\r\n")
            if found < 0:
                return False
            end = found + 2
        self._book.add(self._recipients, bytes(self._input[:end]))
        del self._input[: end + 3]
        self._recipients = []
        self._in_data = False
        self._output += b"250 2.0.0 Ok: queued as %d\r\n" % self._book.messages
        return True

    def _command(self, verb: bytes, line: bytes) -> None:
        closed = self._context is not None and not self._secure
        if verb == b"RCPT":
            self._recipients.append(line[line.index(b"<") + 1 : line.index(b">")])
            self._output += _OK
        elif verb == b"DATA":
            self._in_data = True
            self._output += b"354 End data with <CR><LF>.<CR><LF>\r\n"
        elif verb == b"EHLO":
            extra = b"250-STARTTLS\r\n" if closed else b"250-AUTH PLAIN LOGIN\r\n" if self._context else b""
            self._output += b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n" + extra + b"250 ENHANCEDSTATUSCODES\r\n"
        elif closed and verb not in (b"STAR", b"QUIT", b"NOOP"):
            self._output += b"530 5.7.0 Must issue a STARTTLS command first\r\n"
        else:
            self._rarely(verb, line)

    def _rarely(self, verb: bytes, line: bytes) -> None:
        if verb == b"QUIT":
            self._output += b"221 2.0.0 Bye\r\n"
            self._flush(close=True)
        elif verb == b"STAR":
            self._output += b"220 2.0.0 Ready\r\n"
            self._flush()
            self._upgrade = self._loop.create_task(self._start_tls())
        elif verb == b"AUTH":
            words = line.split()
            self._expects_password = 2 if words[1].upper() == b"LOGIN" else 1
            if len(words) > 2:
                self._password()
            else:
                self._output += b"334 \r\n"
        else:
            self._output += _OK

    def _password(self) -> None:
        self._expects_password -= 1
        self._output += b"334 \r\n" if self._expects_password else b"235 2.7.0 Accepted\r\n"

    async def _start_tls(self) -> None:
        assert self._transport is not None
        assert self._context is not None
        with contextlib.suppress(OSError):
            secured = await self._loop.start_tls(self._transport, self, self._context, server_side=True)
            self._transport = secured
            self._secure = True
        self._upgrade = None
        # What came while this task waited for its turn.
        self.data_received(b"")

    def _flush(self, *, close: bool = False) -> None:
        data = bytes(self._output)
        self._output.clear()
        if not data:
            return
        if self._delay:
            self._loop.call_later(self._delay, self._write, data, close)
        else:
            self._write(data, close)

    def _write(self, data: bytes, close: bool) -> None:
        assert self._transport is not None
        if not self._transport.is_closing():
            self._transport.write(data)
            if close:
                self._transport.close()


async def _serve(spool: Path, delay: float, pem: Path | None) -> None:
    loop = asyncio.get_running_loop()
    context = None
    if pem is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
    with spool.open("wb", buffering=1024 * 1024) as file:
        book = Book(file)
        server = await loop.create_server(lambda: Session(book, delay, context), "127.0.0.1", 0, backlog=1000)
        print(server.sockets[0].getsockname()[1], flush=True)
        await loop.run_in_executor(None, sys.stdin.read)
        server.close()
    print(book.figures(), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="An SMTP server that takes everything.")
    parser.add_argument("spool", type=Path, help="where the messages are recorded")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each group of replies")
    parser.add_argument("--pem", type=Path, help="key and certificate: mail only after STARTTLS and AUTH")
    given = parser.parse_args()
    asyncio.run(_serve(given.spool, given.delay, given.pem))


if __name__ == "__main__":
    main()
