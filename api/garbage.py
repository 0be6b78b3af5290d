"""Garbage collection: what a process has loaded stays, and is not looked through again and again.

Whoever imports this before all others loads them in nine tenths of the time: the rest was looking for garbage among
what stays.
"""

import gc

#: Objects made, and not freed, before the youngest are searched for cycles; younger searches before each older one.
_COLLECT = (10_000, 20, 50)
#: The same while modules are loaded: more objects than all of them make.
_LOAD = 250_000

gc.set_threshold(_LOAD)


def settle() -> None:
    """Keep what was loaded so far out of garbage collections, and have them seldom.

    Mail and requests leave hardly a cycle behind, and looking for them took a tenth of the time of a drain. Before a
    fork it also keeps the pages that the processes share from becoming each one's own. What is garbage already stays,
    too: one object of a hundred, and finding them would take longer than all else that a worker does to start.
    """
    gc.freeze()
    gc.set_threshold(*_COLLECT)
