"""What a host's name tells: whether it is this machine, and what it is called in a dialogue."""

import ipaddress
from urllib.parse import urlsplit


def ehlo_name(url: str) -> str:
    """Return the host of a URL as EHLO has it: a name, or an address literal (RFC 5321 §4.1.3)."""
    host = urlsplit(url).hostname or "localhost"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return f"[{address}]" if address.version == 4 else f"[IPv6:{address}]"


def is_loopback(host: str) -> bool:
    """Tell whether a host name can only mean this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_base(url: str) -> bool:
    """Tell whether a URL may stand before every link: a scheme of HTTP, a host, perhaps a path, and no more."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            return False
    except ValueError:
        return False
    return not (parts.query or parts.fragment or parts.username)


def is_origin(text: str) -> bool:
    """Tell whether a text is one origin (RFC 6454) of HTTP, without a path."""
    parts = urlsplit(text)
    return parts.scheme in ("http", "https") and bool(parts.netloc) and not (parts.path or parts.query or "*" in text)
