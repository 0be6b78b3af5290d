"""Garbage collection: what a process has loaded stays, and is not looked through again and again."""

import gc

#: Objects made, and not freed, before the youngest are searched for cycles; younger searches before each older one.
_COLLECT = (10_000, 20, 50)


def settle() -> None:
    """Keep what was loaded so far out of garbage collections, and have them seldom.

    Mail and requests leave hardly a cycle behind, and looking for them took a tenth of the time of a drain. Before a
    fork it also keeps the pages that the processes share from becoming each one's own.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT)
