"""The embedded relay of development: an SMTP server on loopback that keeps every mail in the captured inbox."""

import asyncio
import ipaddress
import logging
import socket
import threading

from aiosmtpd.smtp import SMTP, Envelope, Session
from flask import Flask

from api.core import inbox
from api.core.errors import Unavailable
from schemas.vocabulary import Mode

log = logging.getLogger(__name__)

#: Bytes of one mail: the largest request body, and what base64 and quoted-printable make of it.
MAX_SIZE = 32 * 1024 * 1024


class Inbox:
    """Takes mail on a bound socket, in a daemon thread: one that is being sent may end while the process is leaving.

    The socket is made by whoever starts the process, so that a port in use is told before anything runs. Raises
    ValueError if it can be reached from another machine.
    """

    def __init__(self, app: Flask, listener: socket.socket) -> None:
        host = listener.getsockname()[0]
        if not ipaddress.ip_address(host).is_loopback:
            raise ValueError(f"the inbox takes mail from this machine only, not on {host}")
        self._listener = listener
        self._handler = _Handler(app)
        self._connections: set[_Connection] = set()
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="inbox", daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        """Return the host and port that it listens on."""
        host, port = self._listener.getsockname()[:2]
        return host, port

    def start(self) -> None:
        """Start taking mail; what connects from now on is served."""
        self._listener.listen()
        self._thread.start()

    def stop(self) -> None:
        """Close everything, and wait for that."""
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        server = await self._loop.create_server(self._connect, sock=self._listener)
        await self._ended.wait()
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for connection in list(self._connections):
            connection.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _connect(self) -> "_Connection":
        return _Connection(self._connections, self._handler, self._loop)


class _Connection(SMTP):
    def __init__(self, connections: set["_Connection"], handler: "_Handler", loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            handler,
            loop=loop,
            hostname="localhost",  # its default asks the DNS
            ident="Postroom inbox",
            data_size_limit=MAX_SIZE,
            enable_SMTPUTF8=False,  # a mail that needs it must fail here as it may elsewhere
        )
        self._connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connections.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.discard(self)
        super().connection_lost(error)

    def abort(self) -> None:
        if isinstance(self.transport, asyncio.Transport):
            self.transport.abort()


class _Handler:
    """What aiosmtpd calls; the names are its own."""

    def __init__(self, app: Flask) -> None:
        self._app = app

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        raw = envelope.content
        assert isinstance(raw, bytes)  # noqa: S101 -- decode_data is off
        sender = envelope.mail_from or ""
        try:
            # In the loop's own thread: one writer at a time is what the database can do, and an executor refuses
            # work while the process is leaving and its last mail is still on the way.
            with self._app.app_context():
                recipients = [str(one) for one in envelope.rcpt_tos]
                inbox.capture(mode=Mode.LIVE, sender="" if sender == "<>" else sender, recipients=recipients, raw=raw)
        except Unavailable as error:
            log.warning("a mail could not be kept: %s", error.detail)
            return "451 4.3.0 the inbox cannot keep it just now"
        return "250 2.0.0 kept in the inbox"

    async def handle_exception(self, error: Exception) -> str:
        log.error("the inbox stumbled", exc_info=error)
        return "451 4.3.0 the inbox stumbled"
