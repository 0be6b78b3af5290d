"""One client's TCP connection: what came in, replies in order and late if so set, TLS, and three ways to close."""

import asyncio
import select
import socket
import ssl
import struct
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from functools import partial

from tests.relay.tls import Tls

#: Linux tells of a peer's FIN behind unread data; elsewhere only resets are seen.
_GONE = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR


class Wire(asyncio.Protocol):
    """The transport under a session; `flush` sends what was `put`, in one segment where it fits."""

    def __init__(self) -> None:
        #: What came in and was not looked at; while `sealed` and not `secured`, undeciphered.
        self.buffer = bytearray()
        #: Nothing in plain words is taken any more.
        self.sealed = False
        self.closing = False
        self.gone = asyncio.Event()
        self._transport: asyncio.Transport
        self._tls: Tls | None = None
        self._outgoing = bytearray()
        self._late: deque[Callable[[], None]] = deque()
        self._writable = asyncio.Event()
        self._writable.set()

    @property
    def latency(self) -> float:
        """Seconds that everything written is late."""
        return 0.0

    @property
    def owes(self) -> bool:
        """Whether something is decided to be sent that the client cannot have seen."""
        return bool(self._outgoing or self._late)

    @property
    def secured(self) -> bool:
        """Whether the handshake of TLS is done."""
        return self._tls is not None and self._tls.established

    @abstractmethod
    def received(self, data: bytes) -> None:
        """Take what came in, deciphered."""

    @abstractmethod
    def shaken(self, error: str | None) -> None:
        """Take note that the handshake is done, or what it failed for."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.closing = True
        self.gone.set()
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        if self._tls is None:
            self.received(data)
        else:
            self._decipher(data, self._tls)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def put(self, data: bytes) -> None:
        """Add to what the next flush sends."""
        self._outgoing += data

    def flush(self) -> None:
        """Send what was put."""
        if self._outgoing:
            data = bytes(self._outgoing)
            self._outgoing.clear()
            if self._tls is not None and self._tls.established:
                self._tls.send(data)
            else:
                self._send(data)

    async def drain(self) -> None:
        """Flush, and wait until the client has room for more."""
        self.flush()
        await self._writable.wait()

    def seal(self) -> None:
        """Take what comes from now on for TLS; plain words that came behind STARTTLS are forgotten."""
        self.buffer.clear()
        self.sealed = True

    def secure(self, context: ssl.SSLContext) -> None:
        """Begin the handshake with what has come since `seal`."""
        self.flush()
        self._tls = Tls(context, self._send)
        data = bytes(self.buffer)
        self.buffer.clear()
        if data:
            self._decipher(data, self._tls)

    def close(self) -> None:
        """Send what was put, then close politely."""
        self._end(self._transport.close, farewell=True)

    def drop(self) -> None:
        """Send what was put, then close without TLS's farewell, as a dying server does."""
        self._end(self._transport.close)

    def reset(self) -> None:
        """Send what was put, then reset the connection."""
        self._end(self._reset)

    async def stop_reading(self, seconds: float) -> None:
        """Read nothing for so many seconds, or until the client is seen to have left."""
        self._transport.pause_reading()
        poller = select.poll()
        poller.register(self._socket().fileno(), _GONE)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while loop.time() < deadline and not self.gone.is_set() and not poller.poll(0):
            await asyncio.sleep(0.05)

    def addresses(self) -> tuple[tuple[str, int], tuple[str, int]]:
        """Return the client's address and ours."""
        client, ours = (self._transport.get_extra_info(name) for name in ("peername", "sockname"))
        return client, ours

    def tls_version(self) -> str | None:
        """Return the version of TLS, as OpenSSL names it; None without."""
        return self._tls.version if self._tls is not None else None

    def _decipher(self, data: bytes, tls: Tls) -> None:
        established = tls.established
        try:
            plain = tls.feed(data)
        except ssl.SSLError as error:
            if not established:
                self.shaken(str(error))
            self.drop()
            return
        if tls.established and not established:
            self.shaken(None)
        if plain:
            self.received(plain)
        if tls.ended:
            self.close()

    def _socket(self) -> socket.socket:
        sock: socket.socket = self._transport.get_extra_info("socket")
        return sock

    def _send(self, data: bytes) -> None:
        self._later(partial(self._write, data))

    def _write(self, data: bytes) -> None:
        if not self.gone.is_set():
            self._transport.write(data)

    def _end(self, how: Callable[[], None], *, farewell: bool = False) -> None:
        if not self.closing:
            self.flush()
            if farewell and self._tls is not None:
                self._tls.close()
            self.closing = True
            self._later(how)

    def _reset(self) -> None:
        # Lingering for no time is how a socket is told to reset.
        self._socket().setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def _later(self, act: Callable[[], None]) -> None:
        if self.latency or self._late:
            self._late.append(act)
            asyncio.get_running_loop().call_later(self.latency, self._next)
        else:
            act()

    def _next(self) -> None:
        # Timers of one instant have no order of their own: the queue keeps it.
        self._late.popleft()()
