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
