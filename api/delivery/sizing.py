"""How many senders work at once, how much is claimed for them, and how fast they may go.

Pure decisions: times and counts come in.
"""

#: Senders to begin with: while one waits, the other goes on. More gain nothing where the relay is near, and each may
#: cost a second copy when the process is killed.
START = 2
#: Times as many senders are tried next.
GROWTH = 4
#: Seconds over which a rate is taken, and that new senders get before it is, for connecting and logging in.
PERIOD = 0.25
#: More senders pay if the rate rises by this factor at least; four times as many, on a machine that is shared, may by
#: chance do a little better where they cost more than they gain.
PAYS = 1.3
#: Of one processor's time, the share from which on this process has no more to give, whoever waits for what.
BUSY = 0.85
#: Seconds before more senders are tried again after they did not pay: at first, and at most.
HOLD, LONGEST_HOLD = 2.0, 60.0
#: Seconds without anybody waiting after which the extra senders rest, and their connections grow old.
IDLE = 5.0

#: Claims held for each sender at least: the one under way, and one more so that it need not wait for the database.
AHEAD = 2
#: Claims held at most, however fast they go; and times as many are tried next while that is too few, beside requests
#: and else.
MOST_AHEAD, SWELL_BESIDE, SWELL = 500, 2, 4


class Sizing:
    """Tries several times the senders while mail waits, and goes back when the rate does not rise, or nothing waits.

    Where a round trip is what takes time, the rate rises with each connection; where the processor is, it does not. A
    disturbed rate may mislead, so what did not pay is tried again soon, and ever later as long as it does not.
    """

    def __init__(self, most: int, *, start: int = START) -> None:
        self._most = most
        self._start = min(start, most)
        self.size = self._start
        self._before: tuple[int, float] | None = None
        self._since: float | None = None
        self._done = 0
        self._used = 0.0
        self._busy_at = float("-inf")
        self._hold_until = float("-inf")
        self._hold = HOLD

    def observe(self, *, done: int, waiting: int, now: float, used: float = 0.0) -> int:
        """Return how many senders are to work.

        `done` since the last call, how many are `waiting`, and the processor's seconds that this process ever `used`.
        """
        self._done += done
        if waiting:
            self._busy_at = now
        elif now - self._busy_at > IDLE:
            self.size, self._before, self._hold = self._start, None, HOLD
        if not waiting or self._since is None:
            self._measure(now, used)
        elif now <= self._since:
            self._done, self._used = 0, used
        elif (seconds := now - self._since) >= PERIOD:
            grown = self._decide(self._done / seconds, now, busy=used - self._used >= BUSY * seconds)
            self._measure(now + PERIOD * grown, used)
        return self.size

    def _measure(self, since: float, used: float) -> None:
        self._since, self._done, self._used = since, 0, used

    def _decide(self, rate: float, now: float, *, busy: bool) -> bool:
        """Choose the size by the rate that the present one reached; tell whether it is a larger one."""
        if self._before is not None and rate < self._before[1] * PAYS:
            self.size, self._before = self._before[0], None
            self._hold_until = now + self._hold
            self._hold = min(self._hold * 2, LONGEST_HOLD)
        elif self.size < self._most and now >= self._hold_until and not busy:
            self._before = (self.size, rate)
            self.size = min(self.size * GROWTH, self._most)
            return True
        else:
            self._before = None
        return False


class Stock:
    """How many claims are held for the senders: more while they run dry between two claims, fewer when they do not.

    Who `shares` its process with others who have more of a hurry begins a backlog slowly.
    """

    def __init__(self, senders: int, *, shares: bool = False) -> None:
        self._least = senders * AHEAD
        self._shares = shares
        #: Claims held at most.
        self.size = self._least
        #: After a full claim there is more to be had, most likely.
        self.more = False
        self._was_filled = False

    def claimed(self, count: int, limit: int, *, waiting: int) -> None:
        """Note what the latest claim got of what it asked for, and how many others were waiting then."""
        self.more = self._was_filled = count == limit
        if self.more and waiting == 0:
            self.size = min(MOST_AHEAD, self.size * (SWELL_BESIDE if self._shares else SWELL))
        elif not self.more:
            self.size = max(self._least, self.size // 2)

    def unclaimed(self) -> None:
        """Note that nothing was asked for."""
        self._was_filled = False

    def runs_dry(self, waiting: int) -> bool:
        """Tell whether nobody waits for a sender any more, and the next claim should not be put off."""
        return self.hurries() and waiting == 0

    def hurries(self) -> bool:
        """Tell whether the next claim should come as soon as nobody waits for a sender."""
        return self._was_filled and not self._shares


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
