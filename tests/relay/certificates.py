"""A certificate authority for the tests, and the server certificates that a client must or must not trust."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import trustme

#: The names under which clients reach a server on loopback.
NAMES = ("localhost", "127.0.0.1", "relay.test")
_LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Certificates:
    """`ca_file` is what a client trusts; `directory` holds `<name>.pem` for the server: its key, then its chain."""

    directory: Path
    ca_file: Path


def make(directory: Path) -> Certificates:
    """Write a CA's certificate, and server certificates that are good, of another CA, for another name, and expired."""
    directory.mkdir(parents=True, exist_ok=True)
    ours, theirs = trustme.CA(), trustme.CA()
    leaves = {
        "good": ours.issue_cert(*NAMES),
        "unknown_ca": theirs.issue_cert(*NAMES),
        "wrong_name": ours.issue_cert("elsewhere.test"),
        "expired": ours.issue_cert(*NAMES, not_after=_LONG_AGO),
    }
    for name, leaf in leaves.items():
        leaf.private_key_and_cert_chain_pem.write_to_path(directory / f"{name}.pem")
    ca_file = directory / "ca.pem"
    ours.cert_pem.write_to_path(ca_file)
    return Certificates(directory, ca_file)
