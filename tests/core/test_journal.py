"""The journal: what a dispatcher knows survives its process, whatever happens to the file."""

import os
import resource
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from api.core import journal
from api.core.claim import Hold, Reply, Settlement
from api.core.errors import Unavailable
from api.core.journal import Journal, Replay, left_behind, read
from tests.conftest import GREYLISTED, LOST, REFUSED, SENT

NOTHING = Replay((), ())

#: Opens a journal, lets a delivery into DATA, says so, and lives until it is killed.
WRITER = """
import sys, time
from pathlib import Path
from uuid import UUID
from api.core.claim import Hold
from api.core.journal import Journal
journal = Journal(Path(sys.argv[1]))
journal.write(None, Hold(UUID(hex=sys.argv[2]), UUID(hex=sys.argv[3]), 1, "default"))
print("written", flush=True)
time.sleep(600)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journals" / "dispatcher.journal"


@pytest.fixture
def opened(path):
    opened = Journal(path)
    yield opened
    opened.close()


def hold(delivery=None):
    return Hold(delivery or uuid4(), uuid4(), attempt=2, transport="default")


def came_to(held, result=SENT):
    return Settlement(held, result, datetime(2027, 1, 1, 12, 30, 5, 999, tzinfo=UTC))


def begun(replay):
    return [(one.delivery_id, one.token) for one in replay.begun]


@contextmanager
def files_no_longer_than(octets):
    """Let this process write no file beyond so many octets: what the disk does when it is full, part by part."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_what_was_written_is_read_back(opened, path):
    ends = [came_to(hold(), result) for result in (SENT, GREYLISTED, REFUSED, LOST)]
    first, last = hold(), hold()
    opened.write(None, first)
    for end in ends:
        opened.write(end, None)
    opened.write(None, last)

    replay = read(path)

    assert replay.settlements == tuple(ends)
    assert begun(replay) == [(one.delivery_id, one.token) for one in (first, last)]


def test_what_is_settled_is_no_longer_under_way(opened, path):
    held = hold()
    opened.write(None, held)
    opened.write(came_to(held), None)
    assert read(path) == Replay((came_to(held),), ())


def test_a_result_and_the_next_message_stand_in_one_write(opened, path):
    first, second = hold(), hold()
    opened.write(None, first)
    opened.write(came_to(first), second)
    replay = read(path)
    assert replay.settlements == (came_to(first),)
    assert begun(replay) == [(second.delivery_id, second.token)]


def test_a_second_attempt_at_a_delivery_counts_as_under_way_again(opened, path):
    held = hold()
    opened.write(None, held)
    opened.write(came_to(held, GREYLISTED), None)
    again = hold(held.delivery_id)
    opened.write(None, again)
    assert begun(read(path)) == [(again.delivery_id, again.token)]


def test_odd_texts_of_a_relay_come_back_as_they_were(opened, path):
    odd = 'l1\nl2\r\x00\x85\u2028"\\ \udcff 😀'
    result = REFUSED._replace(reply=Reply(None, None, odd))
    opened.write(came_to(hold(), result), None)
    opened.write(came_to(hold()), None)
    found = read(path).settlements
    assert [one.result for one in found] == [result, SENT]


@pytest.mark.parametrize("kept", range(1, 200, 17))
def test_a_last_line_that_was_cut_short_counts_as_never_written(opened, path, kept):
    whole = came_to(hold())
    opened.write(whole, None)
    size = path.stat().st_size
    opened.write(came_to(hold()), None)
    os.truncate(path, min(size + kept, path.stat().st_size - 2))
    assert read(path) == Replay((whole,), ())


def test_no_file_holds_nothing(path):
    assert read(path) == NOTHING
    with left_behind(path) as left:
        assert left == NOTHING


def test_a_closed_journal_that_the_table_knows_all_of_is_gone(path):
    opened = Journal(path)
    held = hold()
    opened.write(None, held)
    opened.write(came_to(held), None)
    opened.forget([held.delivery_id])
    opened.close()
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("settled", [False, True])
def test_a_closed_journal_that_knows_more_than_the_table_stays(path, settled):
    opened = Journal(path)
    held = hold()
    opened.write(None, held)
    if settled:
        opened.write(came_to(held), None)
    opened.close()
    with left_behind(path) as left:
        assert left is not None
        assert (len(left.settlements), len(left.begun)) == ((1, 0) if settled else (0, 1))
    assert not path.exists()


def test_what_the_table_knew_before_it_was_written_needs_no_second_word(path):
    opened = Journal(path)
    held = hold()
    opened.write(None, held)
    opened.forget([held.delivery_id])
    opened.write(came_to(held), None)
    opened.close()
    assert not path.exists()


class TestCompaction:
    @pytest.fixture(autouse=True)
    def _small(self, monkeypatch):
        monkeypatch.setattr(journal, "COMPACT_SIZE", 2000)

    def test_the_file_stays_short_and_keeps_what_counts(self, opened, path):
        under_way, unknown = hold(), hold()
        opened.write(None, under_way)
        opened.write(came_to(unknown), None)
        sizes = []
        for _ in range(200):
            held = hold()
            opened.write(None, held)
            opened.write(came_to(held), None)
            opened.forget([held.delivery_id])
            sizes.append(path.stat().st_size)
        assert max(sizes) < 4000
        replay = read(path)
        assert came_to(unknown) in replay.settlements
        assert begun(replay) == [(under_way.delivery_id, under_way.token)]
        assert list(path.parent.iterdir()) == [path]

    def test_what_is_written_afterwards_stands_in_the_new_file(self, opened, path):
        self.grow(opened)
        held = hold()
        opened.write(None, held)
        assert begun(read(path)) == [(held.delivery_id, held.token)]

    def test_the_new_file_is_locked_like_the_old_one(self, opened, path):
        self.grow(opened)
        with left_behind(path) as left:
            assert left is None
        assert path.exists()

    def test_who_looks_at_that_very_moment_does_not_take_the_writer_for_dead(self, opened, path):
        looks: list[Replay | None] = []

        def look():
            while len(looks) < 3000:
                with left_behind(path) as left:
                    looks.append(left)

        with ThreadPoolExecutor(1) as pool:
            looking = pool.submit(look)
            while not looking.done():
                self.grow(opened)
            looking.result()
        assert set(looks) == {None}
        assert path.exists()

    def test_a_full_disk_leaves_the_long_file_as_it_was(self, opened, path):
        kept = [hold() for _ in range(12)]
        for one in kept:
            opened.write(None, one)
        sent = hold()
        opened.write(came_to(sent), None)
        for _ in range(10):
            opened.write(came_to(hold()), None)
        before = read(path)
        with files_no_longer_than(500):
            opened.forget([sent.delivery_id])
        assert read(path) == before
        assert list(path.parent.iterdir()) == [path]
        opened.forget([])
        assert len(begun(read(path))) == 12
        assert came_to(sent) not in read(path).settlements

    @staticmethod
    def grow(opened):
        for _ in range(10):
            held = hold()
            opened.write(None, held)
            opened.write(came_to(held), None)
            opened.forget([held.delivery_id])


class TestFullDisk:
    def test_who_cannot_write_is_told_so(self, opened, path):
        opened.write(None, hold())
        with files_no_longer_than(path.stat().st_size), pytest.raises(Unavailable, match="cannot be written"):
            opened.write(None, hold())

    @pytest.mark.parametrize("room", [1, 50, 83])
    def test_a_line_that_was_written_in_part_is_refused_and_spoils_no_other(self, opened, path, room):
        first, refused, later = hold(), hold(), hold()
        opened.write(None, first)
        with files_no_longer_than(path.stat().st_size + room), pytest.raises(Unavailable):
            opened.write(None, refused)
        opened.write(None, later)
        assert begun(read(path)) == [(one.delivery_id, one.token) for one in (first, later)]

    def test_a_result_that_could_not_be_written_keeps_the_next_message_out_of_data(self, opened, path):
        first, second = hold(), hold()
        opened.write(None, first)
        with files_no_longer_than(path.stat().st_size + 100), pytest.raises(Unavailable):
            opened.write(came_to(first), second)
        assert begun(read(path)) == [(first.delivery_id, first.token)]

    def test_a_journal_that_cannot_be_opened_is_told(self, tmp_path):
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(Unavailable, match="cannot be opened"):
            Journal(tmp_path / "file" / "dispatcher.journal")


class TestTheDeadAndTheLiving:
    @pytest.fixture
    def writer(self, path):
        """Another process, which has let a delivery into DATA."""
        delivery, token = uuid4(), uuid4()
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), delivery.hex, token.hex], stdout=subprocess.PIPE
        ) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == b"written\n"
                yield process, (delivery, token)
            finally:
                process.kill()

    def test_the_journal_of_a_living_process_is_left_alone(self, writer, path):
        with left_behind(path) as left:
            assert left is None
        assert path.exists()

    def test_a_process_that_was_stopped_counts_as_living(self, writer, path):
        process, _ = writer
        process.send_signal(signal.SIGSTOP)
        with left_behind(path) as left:
            assert left is None

    def test_what_a_killed_process_wrote_is_found_and_removed_when_made_use_of(self, writer, path):
        process, written = writer
        process.kill()
        process.wait()
        with left_behind(path) as left:
            assert left is not None
            assert begun(left) == [written]
            assert path.exists()
        assert not path.exists()

    def test_what_could_not_be_made_use_of_stays_for_the_next(self, writer, path):
        process, written = writer
        process.kill()
        process.wait()
        with pytest.raises(Unavailable), left_behind(path):
            raise Unavailable
        with left_behind(path) as left:
            assert left is not None
            assert begun(left) == [written]

    def test_only_one_at_a_time_makes_use_of_it(self, writer, path):
        process, _ = writer
        process.kill()
        process.wait()
        with left_behind(path) as first, left_behind(path) as second:
            assert first is not None
            assert second is None

    def test_a_second_journal_in_the_same_place_is_refused(self, opened, path):
        with pytest.raises(Unavailable):
            Journal(path)


def test_ids_come_back_as_ids(opened, path):
    opened.write(None, hold())
    [one] = read(path).begun
    assert isinstance(one.delivery_id, UUID)
    assert isinstance(one.token, UUID)


class TestTheFoldersName:
    def test_all_who_ask_at_once_are_told_the_same(self, tmp_path):
        folder = tmp_path / "new"
        start = threading.Barrier(8)

        def ask(_):
            start.wait()
            return journal.identity(folder)

        with ThreadPoolExecutor(8) as pool:
            names = set(pool.map(ask, range(8)))
        assert len(names) == 1
        assert [one.name for one in folder.iterdir()] == [journal.IDENTITY]

    def test_it_goes_with_the_folder_wherever_that_is_mounted(self, tmp_path):
        name = journal.identity(tmp_path / "here")
        (tmp_path / "here").rename(tmp_path / "there")
        assert journal.identity(tmp_path / "there") == name
        assert journal.identity(tmp_path / "here") != name

    def test_a_folder_that_cannot_be_made_is_told(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(Unavailable, match="cannot be written"):
            journal.identity(tmp_path / "file" / "state")
