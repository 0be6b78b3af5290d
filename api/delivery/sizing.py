"""How many senders work at once, and how fast they may go: pure decisions, times and counts come in."""

#: Senders to begin with: a second one, so that one slow dialogue holds up nobody.
START = 2
#: Seconds over which a rate is taken.
PERIOD = 0.25
#: More senders pay if the rate rises by this factor at least.
PAYS = 1.1
#: Seconds before more senders are tried again after they did not pay.
HOLD = 30.0
#: Seconds without anybody waiting after which the extra senders rest, and their connections grow old.
IDLE = 5.0


class Sizing:
    """Doubles the senders while mail waits and that raises the rate; goes back when it does not, or nothing waits.

    Where a round trip is what takes time, the rate rises with each connection; where the processor is, it does not.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.size = min(START, most)
        self._before: tuple[int, float] | None = None
        self._since: float | None = None
        self._done = 0
        self._busy_at = float("-inf")
        self._hold_until = float("-inf")

    def observe(self, *, done: int, waiting: int, now: float) -> int:
        """Take in how many were done since the last call and how many wait; return how many senders are to work."""
        self._done += done
        if waiting:
            self._busy_at = now
        elif now - self._busy_at > IDLE:
            self.size, self._before = min(START, self._most), None
        if not waiting or self._since is None:
            self._since, self._done = now, 0
        elif now - self._since >= PERIOD:
            self._decide(self._done / (now - self._since), now)
            self._since, self._done = now, 0
        return self.size

    def _decide(self, rate: float, now: float) -> None:
        if self._before is not None and rate < self._before[1] * PAYS:
            self.size, self._before = self._before[0], None
            self._hold_until = now + HOLD
        elif self.size < self._most and now >= self._hold_until:
            self._before = (self.size, rate)
            self.size = min(self.size * 2, self._most)
        else:
            self._before = None


class Pace:
    """At most so many messages a second, in bursts of one second's worth; None is no limit."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._tokens = 1.0 if rate is None else max(1.0, rate)
        self._at: float | None = None

    def grant(self, wanted: int, *, now: float) -> int:
        """Return how many of those wanted may be begun now."""
        if self._rate is None:
            return wanted
        if self._at is not None:
            self._tokens = min(max(1.0, self._rate), self._tokens + (now - self._at) * self._rate)
        self._at = now
        return min(wanted, int(self._tokens))

    def spend(self, begun: int) -> None:
        """Count what was begun."""
        if self._rate is not None:
            self._tokens -= begun
