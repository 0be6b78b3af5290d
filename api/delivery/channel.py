"""The bytes between us and the relay: connect, TLS, read and write, none of which may last for ever."""

import contextlib
import errno
import math
import os
import select
import socket
import ssl
from smtplib import SMTPServerDisconnected
from threading import Lock
from time import monotonic
from typing import Any

from api.delivery.loop import away, current
from api.delivery.relay import RelaySettings

#: Octets written under one timeout.
CHUNK = 64 * 1024
#: What a socket says that connects, but not at once.
_BEGUN = frozenset({errno.EINPROGRESS, errno.EINTR})


class Broken(SMTPServerDisconnected):
    """No usable reply came: the connection was lost, silent or senseless. The text says how."""


class Channel:
    """One TCP connection, with TLS or without. Used by one thread; only `abort` may be called by another.

    Connecting, the handshake, each chunk and each reply are bounded by the relay's `timeout`, and all by `ends`.
    The socket never blocks: what has to wait does so in the loop, if it runs in one, else in a `poll` of its own.
    """

    def __init__(self, relay: RelaySettings) -> None:
        self._relay = relay
        #: When the present transaction must be over, by `time.monotonic()`; and when the relay was last heard.
        self.ends = math.inf
        self.heard = -math.inf
        self._sock: socket.socket | None = None
        self._poll = select.poll()  # `select` knows no file descriptors above 1023
        self._polled = select.POLLIN
        # Over TLS a read may have to write first, and a write to read: what each waits for.
        self._before_read, self._before_write = select.POLLIN, select.POLLOUT
        self._lock = Lock()
        self._aborted = False

    @property
    def connected(self) -> bool:
        """Tell whether it was opened, and not closed by us."""
        return self._sock is not None

    @property
    def encrypted(self) -> bool:
        """Tell whether TLS has begun."""
        return isinstance(self._sock, ssl.SSLSocket)

    def peer(self) -> str:
        """Return the address at the other end. Raises Broken."""
        try:
            return str(self._socket().getpeername()[0])
        except OSError as error:
            raise self._lost(error) from error

    def open(self) -> None:
        """Connect, without TLS. Raises Broken."""
        until = self.until()
        server, port = self._relay.server, self._relay.port
        try:
            found = away(lambda: socket.getaddrinfo(server, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            raise self.broken(f"cannot find {server}: {_reason(error)}") from error
        failure: OSError | None = None
        for tried, (family, kind, protocol, _, address) in enumerate(found):
            # The addresses share the time, so that a dead first one leaves some to the next.
            share = (until - monotonic()) / (len(found) - tried)
            try:
                self._connect(socket.socket(family, kind, protocol), address, share)
                return
            except OSError as error:
                failure = error
        raise self.broken(f"cannot connect to {server} at port {port}: {_reason(failure)}") from failure

    def _connect(self, sock: socket.socket, address: Any, seconds: float) -> None:
        self._hold(sock)
        # A message ends with a small write; Nagle's algorithm would hold it back for an acknowledgement.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._begin(sock)
        code = sock.connect_ex(address)
        if code in _BEGUN:
            if not self._wait(select.POLLOUT, seconds):
                raise TimeoutError
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code or self._aborted:
            raise OSError(code or errno.ECONNABORTED, os.strerror(code or errno.ECONNABORTED))

    def _begin(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._polled = select.POLLIN

    def _hold(self, sock: socket.socket) -> None:
        """Take a socket in the last one's place, where `abort` reaches it. Raises OSError once that was called."""
        with self._lock:
            if self._sock is not None:
                self._sock.close()
            self._sock = sock
            if self._aborted:
                raise ConnectionAbortedError("aborted")

    def secure(self, context: ssl.SSLContext) -> None:
        """Begin TLS, and check the relay's certificate and name.

        Raises ssl.SSLError, ValueError for a name that no certificate can hold, and Broken.
        """
        until = self.until()
        plain, name = self._socket(), self._relay.server
        try:
            wrapped = context.wrap_socket(plain, server_hostname=name, do_handshake_on_connect=False)
            self._hold(wrapped)
            self._begin(wrapped)
            self._shake_hands(wrapped, until)
        except Broken:
            raise
        except OSError as error:
            if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError) and not self._aborted:
                raise
            raise self.broken("connection lost in the TLS handshake") from error

    def _shake_hands(self, sock: ssl.SSLSocket, until: float) -> None:
        while True:
            try:
                sock.do_handshake()
                return
            except ssl.SSLWantReadError:
                event = select.POLLIN
            except ssl.SSLWantWriteError:
                event = select.POLLOUT
            if not self._wait(event, until - monotonic()):
                raise self.late("no TLS handshake")

    def receive(self, until: float) -> bytes:
        """Return what comes next, at least one octet, before `until`. Raises Broken."""
        while self.readable(until - monotonic()):
            data = self.peek()
            if data == b"":
                raise self.broken("connection lost: closed by the relay")
            if self.heard > until:
                break
            if data is not None:
                return data
        raise self.late("no complete reply")

    def readable(self, seconds: float) -> bool:
        """Tell whether something, or the end, arrives within these seconds. Raises Broken."""
        sock = self._socket()
        if isinstance(sock, ssl.SSLSocket) and sock.pending():
            return True
        return self._wait(self._before_read, seconds)

    def peek(self) -> bytes | None:
        """Return what has arrived, without waiting: None for nothing, nothing for the end. Raises Broken."""
        sock = self._socket()
        self._before_read = select.POLLIN
        try:
            data = sock.recv(8192)
            self.heard = monotonic()
            return data
        except (BlockingIOError, ssl.SSLWantReadError):
            return None
        except ssl.SSLWantWriteError:
            self._before_read = select.POLLOUT
            return None
        except OSError as error:
            raise self._lost(error) from error

    def write(self, data: bytes) -> None:
        """Write it all, chunk by chunk. Raises Broken."""
        if len(data) <= CHUNK:
            self._write(data)
            return
        for start in range(0, len(data), CHUNK):
            self._write(memoryview(data)[start : start + CHUNK])

    def _write(self, chunk: bytes | memoryview) -> None:
        until = self.until()
        sent = self._send(chunk)
        if sent == len(chunk):
            return
        left = memoryview(chunk)[sent:]
        while left:
            if not self._wait(self._before_write, until - monotonic()):
                raise self.late("could not write")
            left = left[self._send(left) :]

    def _send(self, data: bytes | memoryview) -> int:
        """Write what there is room for, and return how many octets that were. Raises Broken."""
        sock = self._socket()
        self._before_write = select.POLLOUT
        try:
            return sock.send(data)
        except (BlockingIOError, ssl.SSLWantWriteError):
            return 0
        except ssl.SSLWantReadError:
            self._before_write = select.POLLIN
            return 0
        except OSError as error:
            raise self._lost(error) from error

    def _wait(self, event: int, seconds: float) -> bool:
        """Tell whether it happens within these seconds; the connection's end counts for everything."""
        if seconds > 0 and (task := current()) is not None:
            return task.loop.wait(task, self._socket().fileno(), event, seconds)
        if event != self._polled:
            self._poll.modify(self._socket(), event)
            self._polled = event
        return bool(self._poll.poll(max(seconds, 0) * 1000))  # less than nothing would be for ever

    def until(self) -> float:
        """Return when what begins now must be done. Raises Broken when the whole transaction's time is up."""
        now = monotonic()
        if now >= self.ends:
            raise self.late("")
        return min(now + self._relay.timeout, self.ends)

    def late(self, what: str) -> Broken:
        """Return the error for what did not happen in time."""
        if monotonic() >= self.ends:
            return self.broken(f"the transaction was not over after {self._relay.deadline:g} s")
        return self.broken(f"{what} within {self._relay.timeout:g} s")

    def broken(self, text: str) -> Broken:
        """Return the error that says so, or that we broke it ourselves."""
        return Broken("stopped by this process" if self._aborted else text)

    def close(self) -> None:
        """Close the connection, without a word."""
        with self._lock:
            sock, self._sock = self._sock, None
            if sock is not None:
                sock.close()

    def abort(self) -> None:
        """Make the wait of the thread that uses this end now, and every later one at once. For other threads."""
        with self._lock:
            self._aborted = True
            if self._sock is not None:
                with contextlib.suppress(OSError):
                    # SSLSocket's own would drop the encryption under the other thread's hands.
                    socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def _lost(self, error: OSError) -> Broken:
        return self.broken(f"connection lost: {_reason(error)}")

    def _socket(self) -> socket.socket:
        if self._sock is None:
            raise self.broken("not connected")
        return self._sock


def _reason(error: BaseException | None) -> str:
    """Return what went wrong in words, without Python's decoration."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)
