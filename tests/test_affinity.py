import json
import subprocess
import sys

from api.affinity import Look, chosen, freest, others

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
