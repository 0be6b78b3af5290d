"""A client on a bare socket, which says what it likes when it likes: to test servers, and to have bad manners."""

import socket
import ssl
from types import TracebackType
from typing import Self


class Client:
    """A connection to a port of 127.0.0.1; every wait ends after `timeout` seconds with TimeoutError."""

    def __init__(self, port: int, *, timeout: float = 10.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self._input = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.socket.close()

    def send(self, *lines: str | bytes) -> None:
        """Send text lines, each with CRLF, and bytes as they are, in one write."""
        self.socket.sendall(b"".join(line if isinstance(line, bytes) else line.encode() + b"\r\n" for line in lines))

    def line(self) -> str:
        """Return the next line without its end. Raises ConnectionError when the server closes before that."""
        while b"\n" not in self._input:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError(f"the server closed after {self._input!r}")
            self._input += data
        line, _, self._input = self._input.partition(b"\n")
        return line.decode("latin-1").rstrip("\r")

    def reply(self) -> str:
        """Return the last line of the next reply."""
        while (line := self.line())[3:4] == "-":
            pass
        return line

    def ask(self, *lines: str | bytes) -> str:
        """Send, and return the last line of the reply."""
        self.send(*lines)
        return self.reply()

    def hello(self) -> Self:
        """Take the banner and say EHLO."""
        self.reply()
        self.ask("EHLO client.test")
        return self

    def envelope(self, *recipients: str, sender: str = "ann@example.org") -> str:
        """Say MAIL, RCPT for each, and DATA, waiting for each reply; return the last one."""
        self.ask(f"MAIL FROM:<{sender}>")
        for recipient in recipients:
            self.ask(f"RCPT TO:<{recipient}>")
        return self.ask("DATA")

    def deliver(self, *recipients: str, content: bytes = b"Subject: hello\r\n\r\nhello\r\n") -> str:
        """Send one message, as `envelope` and the content dot-stuffed already; return the reply to the final dot."""
        self.envelope(*recipients)
        return self.ask(content + b".\r\n")

    def rest(self) -> bytes:
        """Return what the server still sends until it closes. Raises ConnectionResetError for a reset."""
        data, self._input = self._input, b""
        while more := self.socket.recv(65536):
            data += more
        return data

    def secure(self, context: ssl.SSLContext, *, name: str = "localhost") -> Self:
        """Shake hands now. Raises ssl.SSLError."""
        self.socket = context.wrap_socket(self.socket, server_hostname=name)
        return self
