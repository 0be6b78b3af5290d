import json
import os
import subprocess
import sys
import time
from pathlib import Path

from api.affinity import Look, chosen, freest, others
from tests.e2e.server import PATIENCE, Server

#: epoll_wait and epoll_pwait, by their numbers on x86-64 and on 64-bit ARM.
EPOLL = {"232", "281", "22"}

PROGRAM = """
import json, os, threading
from pathlib import Path
from api import affinity

def told():
    return len(os.sched_getaffinity(0)), os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

def run(name, start):
    def note():
        found[name] = told()
    def begin():
        thread = threading.Thread(target=note)
        thread.start()
        thread.join()
    start(begin)

found = {}
affinity.keep()
found["first"] = told()
run("answers", lambda begin: begin())
run("sends", affinity.behind)
found["all"] = [len(os.sched_getaffinity(int(one.name))) for one in Path("/proc/self/task").iterdir()]
print(json.dumps(found))
"""


def test_all_threads_keep_to_one_processor_and_those_that_send_stand_back():
    said = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True, timeout=60)
    found = json.loads(said.stdout)
    assert found["first"][0] == 1
    assert set(found["all"]) == {1}
    assert found["answers"] == found["first"]
    assert found["sends"] == [1, found["first"][1] + 10]


SERVER = """
import json, os, threading
from pathlib import Path
from api.affinity import Berth

def native():
    Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text("tokio-rt-worker")
    named.release()
    ends.wait()

allowed = os.sched_getaffinity(0)
berth = Berth(allowed)
named, ends = threading.Semaphore(0), threading.Event()
threads = [threading.Thread(target=native) for _ in range(3)]
for thread in threads:
    thread.start()
    named.acquire()
for _ in range(2):
    berth.review()
everybody = [threading.get_native_id(), *(thread.native_id for thread in threads)]
expected = [{berth.place}, allowed, {berth.place}, {berth.place}]
print(json.dumps([os.sched_getaffinity(one) == places for one, places in zip(everybody, expected)]))
ends.set()
"""


def test_the_thread_that_does_the_network_goes_where_it_likes():
    said = subprocess.run([sys.executable, "-c", SERVER], check=True, capture_output=True, text=True, timeout=60)
    assert json.loads(said.stdout) == [True] * 4


def test_that_thread_is_the_one_that_waits_for_connections(tmp_path):
    with Server(tmp_path / "data") as server:
        server.request("GET", "/healthz")
        [worker] = server.workers()
        deadline = time.monotonic() + PATIENCE
        # The eldest of them is known at the first look.
        while (threads := native(worker)) and os.sched_getaffinity(threads[0]) != os.sched_getaffinity(0):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        waiting = [one for one in threads if called(worker, one) in EPOLL]
    assert waiting == threads[:1]


def native(process: int) -> list[int]:
    """Return the threads that granian has made, the eldest first."""
    tasks = Path(f"/proc/{process}/task").iterdir()
    return sorted(int(one.name) for one in tasks if (one / "comm").read_text() == "tokio-rt-worker\n")


def called(process: int, thread: int) -> str:
    """Return the number of the system call that a thread is in."""
    return Path(f"/proc/{process}/task/{thread}/syscall").read_text().split()[0]


def test_what_the_process_itself_uses_is_not_held_against_its_place():
    before = Look(at=10.0, busy={0: 5.0, 1: 7.0}, own=3.0)
    now = Look(at=12.0, busy={0: 7.0, 1: 8.0}, own=4.5)
    assert others(before, now, 0) == {0: 0.25, 1: 0.5}


def test_at_first_any_is_good_that_is_about_as_free_as_the_freest() -> None:
    assert freest({0: 0.9, 1: 0.1, 2: 0.3}) == [1, 2]


def test_it_stays_where_others_use_little_more_than_elsewhere():
    assert chosen({0: 0.3, 1: 0.1}, 0) == 0


def test_it_goes_where_others_use_much_less():
    assert chosen({0: 0.9, 1: 0.5, 2: 0.1}, 0) == 2
