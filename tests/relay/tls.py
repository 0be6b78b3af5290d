"""The server's side of TLS between two buffers, so that a failed handshake still sends its alert."""

import contextlib
import ssl
import warnings
from collections.abc import Callable
from pathlib import Path

_CHUNK = 65_536


def server_context(chain: Path, maximum: str | None) -> ssl.SSLContext:
    """Return a context for the key and certificates in `chain`, with `maximum` (`TLSv1_1`) as the newest version."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    if maximum is not None:
        # Old versions are forbidden thrice: by OpenSSL's security level, by the minimum, and by a warning.
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion[maximum]
    return context


class Tls:
    """One connection's encryption; `write` gets what is to be sent."""

    def __init__(self, context: ssl.SSLContext, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.established = False
        #: The client has said that it will send no more.
        self.ended = False

    @property
    def version(self) -> str:
        """The version that the handshake came to, as OpenSSL names it."""
        return str(self._object.version())

    def feed(self, data: bytes) -> bytes:
        """Take in what came and return what it says. Raises ssl.SSLError for what is no TLS, the alert being sent."""
        self._incoming.write(data)
        plain = bytearray()
        try:
            if not self.established:
                self._object.do_handshake()
                self.established = True
            while chunk := self._object.read(_CHUNK):
                plain += chunk
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        finally:
            self._flush()
        return bytes(plain)

    def send(self, data: bytes) -> None:
        """Encrypt and send."""
        self._object.write(data)
        self._flush()

    def close(self) -> None:
        """Say farewell, without waiting for the client's."""
        with contextlib.suppress(ssl.SSLError):  # the client's farewell is not there yet, or there was no handshake
            self._object.unwrap()
        self._flush()

    def _flush(self) -> None:
        if data := self._outgoing.read():
            self._write(data)
