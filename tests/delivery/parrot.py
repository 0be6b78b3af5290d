"""A relay of a few lines that says whatever a test wants, also what no relay with a state of its own would say."""

import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

#: What is said to a command; "banner" and "dot" are commands, too.
USUAL = {
    "banner": "220 parrot.test",
    "EHLO": "250-parrot.test\r\n250 PIPELINING",
    "MAIL": "250 2.1.0 sender ok",
    "RCPT": "250 2.1.5 recipient ok",
    "DATA": "354 go ahead",
    "RSET": "250 2.0.0 forgotten",
    "dot": "250 2.0.0 taken",
}


class Guest:
    """One client's connection, from the parrot's side."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._input = b""
        sock.settimeout(10)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def until(self, end: bytes) -> bytes:
        """Return what comes up to this end, and with it. Raises EOFError when the client leaves before."""
        while end not in self._input:
            data = self._socket.recv(1_000_000)
            if not data:
                raise EOFError
            self._input += data
        found, _, self._input = self._input.partition(end)
        return found + end

    def say(self, data: bytes) -> None:
        """Send this, in one segment."""
        self._socket.sendall(data)

    def hurries(self) -> bool:
        """Tell whether more has come than was looked at."""
        return bool(self._input)

    def forget(self) -> None:
        """Lose what has come and was not looked at."""
        self._input = b""


class Parrot:
    """Says to each command of each connection what `words` has for it, and keeps each content that follows a 354.

    `said` is called after each reply, and `say` sends it; a test puts its own in their places.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        words: dict[str, str] | None = None,
        *,
        say: Callable[[Guest, bytes], None] = Guest.say,
        said: Callable[[Guest, str], None] = lambda guest, verb: None,
    ) -> None:
        self._words = USUAL | (words or {})
        self._say = say
        self._said = said
        self._listener = socket.create_server((self.host, 0))
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self.port: int = self._listener.getsockname()[1]
        #: The verbs of each connection.
        self.heard: list[list[str]] = []
        #: Recipient and content of what was followed by a dot.
        self.taken: list[tuple[str, bytes]] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # Closing alone would not wake a thread that waits for a connection.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()

    def _listen(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            guest = Guest(sock)
            verbs: list[str] = []
            self.heard.append(verbs)
            recipient = ""
            try:
                self._answer(guest, "banner")
                while True:
                    line = guest.until(b"\r\n").decode()
                    verb = line[:4].upper()
                    verbs.append(verb)
                    recipient = line[9:].partition(">")[0] if verb == "RCPT" else recipient
                    if self._answer(guest, verb).startswith("354"):
                        self._take(guest, recipient)
            except (EOFError, OSError):
                return

    def _take(self, guest: Guest, recipient: str) -> None:
        content = guest.until(b"\r\n.\r\n")
        self.taken.append((recipient, content))
        self._answer(guest, "dot")

    def _answer(self, guest: Guest, verb: str) -> str:
        words = self._words.get(verb, "500 5.5.1 what?")
        self._say(guest, words.encode() + b"\r\n")
        self._said(guest, verb)
        return words
