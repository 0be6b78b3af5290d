import os
import threading
import time

import pytest

from api.core.errors import MissingVariables
from api.core.rendering import Library
from tests.core.folder import write


@pytest.fixture
def library(tmp_path):
    return lambda files, **options: Library([write(tmp_path / "mail", files)], **options)


def test_a_version_changes_with_every_file_that_takes_part_and_with_no_other(library):
    files = {
        "t.txt": '{% extends "_l.txt" %}',
        "t.html": '{% include "_i.html" %}{% import "_m.html" as m %}',
        "t.subject.txt": "s",
        "t.de.txt": "",
        "t.de.html": "",
        "_l.txt": "",
        "_i.html": "",
        "_m.html": "",
    }
    others = {"u.txt": "", "u.html": "", "_other.html": ""}
    before = library({**files, **others}).describe("t").version
    assert library({**files, **others}).describe("t").version == before
    for file in files:
        assert library({**files, file: files[file] + "!"}).describe("t").version != before, file
        library(files)
    for file in others:
        assert library({**files, file: "!"}).describe("t").version == before, file


def test_where_a_file_is_chosen_while_rendering_every_file_is_part_of_the_version(library):
    files = {"t.txt": "{% include x %}", "t.html": "", "_other.txt": "a"}
    before = library(files).describe("t").version
    assert library({**files, "_other.txt": "b"}).describe("t").version != before


def test_the_version_rendered_is_the_one_described(library):
    found = library({"t.txt": "", "t.html": ""})
    assert found.render("t", {}).version == found.describe("t").version


def until(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_changed_new_and_removed_files_are_picked_up_when_asked_to(library, tmp_path):
    found = library({"t.txt": "old", "t.html": ""}, reload=True)
    fixed = library({"t.txt": "old", "t.html": ""})
    write(tmp_path / "mail", {"t.txt": "new", "u.txt": "", "u.html": ""})
    until(lambda: found.names() == ["t", "u"])
    assert found.render("t", {}).text == "new"
    os.utime(tmp_path / "mail" / "t.txt", (1, 1))
    (tmp_path / "mail" / "u.txt").unlink()
    until(lambda: "u" in found.broken())
    assert (fixed.names(), fixed.render("t", {}).text) == (["t"], "old")


def test_threads_share_a_library_and_never_see_each_other_s_data(library):
    files = {"t.txt": "{% for i in n %}{{ x }}{% endfor %}", "t.html": "{{ x }}{{ y }}", "t.subject.txt": "{{ x }}"}
    found = library(files, reload=True)
    wrong: list[object] = []

    def work(number: int) -> None:
        for turn in range(300):
            x = f"{number}-{turn}"
            if turn % 3:
                mail = found.render("t", {"x": x, "y": "", "n": [1, 2]})
                wrong.extend(one for one in [mail] if (mail.text, mail.html, mail.subject) != (x * 2, x, x))
            else:
                with pytest.raises(MissingVariables) as caught:
                    found.render("t", {"x": x, "n": []})
                wrong.extend(one for one in [caught.value.names] if one != ("y",))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
