"""From a closed connection to one that mail may be sent on: connect, EHLO, STARTTLS, AUTH, in this order."""

import binascii
import hmac
import ipaddress
import ssl
from base64 import b64decode, b64encode
from collections.abc import Callable

from api.core.claim import Reply
from api.delivery import blame
from api.delivery.blame import Verdict
from api.delivery.channel import Broken
from api.delivery.dialogue import Dialogue
from api.delivery.relay import RelaySettings
from schemas.vocabulary import Phase

#: In our order: over TLS the simplest is the safest, and CRAM-MD5 is often offered where it cannot work.
MECHANISMS = ("PLAIN", "LOGIN", "CRAM-MD5")
#: Refusals that speak of the mechanism, not of the credentials (RFC 4954 section 4, 6).
_OTHER_MECHANISM = frozenset({500, 501, 502, 504, 534})
#: Octets of a command line; a longer first response has to wait for the relay's 334 (RFC 4954 section 4).
_LINE = 510
_CHALLENGES = 4

#: What OpenSSL says when the relay has nothing as new as TLS 1.2.
_TOO_OLD = frozenset({"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "NO_PROTOCOLS_AVAILABLE"})
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"})


class Ended(Exception):
    """The dialogue is over before its aim; `verdict` says what that means."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        super().__init__(f"{verdict.phase}: {verdict.reply.text}")


def open_session(dialogue: Dialogue) -> None:
    """Bring a new dialogue to where MAIL may be said. Raises Ended and Broken.

    With TLS configured nothing but EHLO and STARTTLS is said before it, and with credentials configured nothing but
    AUTH after it: there is no way round either.
    """
    relay = dialogue.relay
    _check(relay)
    if relay.use_ssl:
        _encrypt(dialogue, Phase.CONNECT, dialogue.open)
    else:
        dialogue.open()
    dialogue.phase = Phase.BANNER
    _expect(dialogue, dialogue.read())
    _greet(dialogue)
    if relay.use_tls:
        if not dialogue.has_extn("starttls"):
            raise Ended(blame.misconfigured(Phase.STARTTLS, "the relay does not offer STARTTLS"))
        _expect(dialogue, dialogue.command(Phase.STARTTLS, "STARTTLS"))
        _encrypt(dialogue, Phase.STARTTLS, dialogue.secure)
        _greet(dialogue)
    if relay.username is not None and relay.password is not None:
        dialogue.phase = Phase.AUTH
        _log_in(dialogue, relay.username, relay.password)


def _check(relay: RelaySettings) -> None:
    """Refuse what needs no relay to be known as wrong."""
    if relay.suppress:
        raise Ended(blame.misconfigured(Phase.CONNECT, "MAIL_SUPPRESS_SEND is on"))
    if relay.encrypted:
        try:
            relay.tls_context()
        except OSError as error:
            text = f"MAIL_CA_FILE cannot be used: {error.strerror or error}"
            raise Ended(blame.misconfigured(Phase.CONNECT, text)) from error


def _expect(dialogue: Dialogue, reply: Reply) -> None:
    verdict = blame.judge(dialogue.phase, reply)
    if verdict is not None:
        raise Ended(verdict)


def _greet(dialogue: Dialogue) -> None:
    """Say EHLO. There is no way back to HELO: without extensions there is neither TLS nor AUTH."""
    dialogue.phase = Phase.EHLO
    dialogue.ehlo()
    _expect(dialogue, dialogue.last)


def _encrypt(dialogue: Dialogue, phase: Phase, begin: Callable[[], None]) -> None:
    """Begin TLS; who the relay is not, and what it cannot, the operator must mend, a mere hiccup nobody."""
    try:
        begin()
    except ssl.SSLCertVerificationError as error:
        text = f"the relay's certificate is refused: {error.verify_message or error.reason}"
        raise Ended(blame.misconfigured(phase, text)) from error
    except ssl.SSLError as error:
        raise Ended(_tls_failure(dialogue.relay, phase, error)) from error
    except ValueError as error:
        raise Ended(blame.misconfigured(phase, f"MAIL_SERVER cannot be checked: {error}")) from error


def _tls_failure(relay: RelaySettings, phase: Phase, error: ssl.SSLError) -> Verdict:
    reason = error.reason or str(error)
    if reason in _TOO_OLD:
        return blame.misconfigured(phase, "the relay offers no TLS 1.2 or later")
    if reason in _NOT_TLS and relay.use_ssl:
        return blame.misconfigured(phase, f"port {relay.port} does not speak TLS: MAIL_USE_SSL is for port 465")
    return blame.broken(phase, f"the TLS handshake failed: {reason.replace('_', ' ').lower()}")


def _log_in(dialogue: Dialogue, username: str, password: str) -> None:
    """Log in by the first mechanism that the relay really has. Raises Ended unless it said 235."""
    if not dialogue.channel.encrypted and not is_loopback(dialogue.channel.peer()):
        raise Ended(blame.misconfigured(Phase.AUTH, "the password is not sent unencrypted to another machine"))
    offered = dialogue.esmtp_features.get("auth", "").upper().split()
    common = [mechanism for mechanism in MECHANISMS if mechanism in offered]
    if not common:
        what = " ".join(offered) or "no AUTH at all"
        raise Ended(blame.misconfigured(Phase.AUTH, f"no common way to log in: the relay offers {what}"))
    for mechanism in common:
        reply = _authenticate(dialogue, mechanism, username, password)
        if reply.code not in _OTHER_MECHANISM:
            break
    _expect(dialogue, reply)


def is_loopback(address: str) -> bool:
    """Tell whether the connection's other end, an IP address, is this machine; a name could say anything."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _authenticate(dialogue: Dialogue, mechanism: str, username: str, password: str) -> Reply:
    """Hold one AUTH exchange (RFC 4954 section 4) and return its last reply."""
    command, first = f"AUTH {mechanism}", _plain(username, password) if mechanism == "PLAIN" else None
    if first is not None and len(command) + 1 + len(first) <= _LINE:
        command += " " + first
    reply = dialogue.command(Phase.AUTH, command)
    for step in range(_CHALLENGES):
        if reply.code != 334:
            return reply
        reply = dialogue.command(Phase.AUTH, response(mechanism, step, reply.text, username, password))
    return reply


def response(mechanism: str, step: int, challenge: str, username: str, password: str) -> str:
    """Return the next line of the exchange. Raises Broken for a challenge that is none."""
    if mechanism == "PLAIN":
        return _plain(username, password)
    if mechanism == "LOGIN":
        return _base64((username if step == 0 else password).encode())
    try:
        nonce = b64decode(challenge, validate=True)
    except (binascii.Error, ValueError):
        raise Broken("the relay's AUTH challenge is not base64") from None
    digest = hmac.new(password.encode(), nonce, "md5").hexdigest()  # RFC 2195 knows no other
    return _base64(f"{username} {digest}".encode())


def _plain(username: str, password: str) -> str:
    return _base64(f"\0{username}\0{password}".encode())  # RFC 4616: UTF-8, which smtplib would refuse


def _base64(data: bytes) -> str:
    return b64encode(data).decode("ascii")
