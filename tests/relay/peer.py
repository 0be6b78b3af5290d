"""Which process holds the other end of a loopback connection, told by Linux's /proc."""

import os
from pathlib import Path


def process_of(address: tuple[str, int], server: tuple[str, int]) -> int | None:
    """Return the id of a process that has the socket from `address` to `server` open, or None.

    Neither this process nor its parent is ever named: a test that holds a connection itself does not kill itself.
    """
    inode = _inode(address, server)
    if inode is None:
        return None
    target = f"socket:[{inode}]"
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in (os.getpid(), os.getppid()) and _holds(entry, target):
            return int(entry.name)
    return None


def _inode(address: tuple[str, int], server: tuple[str, int]) -> str | None:
    ends = [_hexadecimal(address), _hexadecimal(server)]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        columns = line.split()
        if columns[1:3] == ends:
            return columns[9]
    return None


def _hexadecimal(address: tuple[str, int]) -> str:
    octets = bytes(int(part) for part in address[0].split("."))
    return f"{int.from_bytes(octets, 'little'):08X}:{address[1]:04X}"


def _holds(process: Path, target: str) -> bool:
    try:
        return any(_link(entry) == target for entry in (process / "fd").iterdir())
    except OSError:  # it ended meanwhile, or belongs to somebody else
        return False


def _link(entry: Path) -> str:
    try:
        return os.readlink(entry)
    except OSError:  # closed meanwhile
        return ""
