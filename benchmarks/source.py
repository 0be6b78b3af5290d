"""Postfix's load generator, measured: `python -m benchmarks.source PROGRAM PORT COUNT CONNECTIONS`."""

import resource
import subprocess
import sys
import time

from benchmarks.processes import Measure, tell

#: Octets of each body; with its header as long as the letters on average.
_LENGTH = 3300


def main() -> None:
    program, port, count, connections = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    addresses = ["-f", "shop@sender.example", "-t", "user@recipient.example"]
    command = [program, "-d", "-s", connections, "-m", str(count), "-l", str(_LENGTH), *addresses, f"127.0.0.1:{port}"]
    began = time.monotonic()
    subprocess.run(command, check=True)
    seconds = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    tell(Measure(count, seconds, used.ru_utime + used.ru_stime, 0.0))


if __name__ == "__main__":
    main()
