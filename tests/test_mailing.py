"""`postroom send-csv`, as a real process on a database of its own."""

import csv
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEADER = "email,name,user.username,user.name,user.email\n"


def row(name):
    return f'{name}@example.org,"{name.title()}, Jr.",{name},{name.title()},{name}@example.org\n'


@pytest.fixture
def sheet(tmp_path):
    """Write a sheet, and return its path."""

    def sheet(*rows, header=HEADER):
        path = tmp_path / "people.csv"
        path.write_text(header + "".join(rows), encoding="utf-8")
        return path

    return sheet


@pytest.fixture
def command(tmp_path):
    """Make the command line and the surroundings of `postroom send-csv`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("POSTROOM_", "MAIL_"))}
    env = inherited | {
        "PYTHONPATH": str(ROOT),
        "POSTROOM_DATABASE_URL": f"sqlite:///{tmp_path}/postroom.db",
        "POSTROOM_SENDER": "postroom@example.org",
    }

    def command(path, *options):
        arguments = [sys.executable, "-m", "api.cli", "send-csv", str(path), "--template", "welcome", *options]
        return {"args": arguments, "cwd": tmp_path, "env": env}

    return command


@pytest.fixture
def send(command):
    """Run the command to its end."""

    def send(path, *options):
        return subprocess.run(**command(path, *options), capture_output=True, text=True, check=False)

    return send


@pytest.fixture
def recipients(tmp_path):
    """Read who is to get mail, in the order of the rows."""

    def recipients():
        with sqlite3.connect(tmp_path / "postroom.db") as connection:
            try:
                found = connection.execute("SELECT recipient FROM deliveries ORDER BY id").fetchall()
            except sqlite3.OperationalError:
                found = []  # the tables are not there yet
        connection.close()
        return [one for (one,) in found]

    return recipients


def test_each_row_becomes_a_mail_with_its_columns_as_data(send, sheet, recipients, tmp_path):
    done = send(sheet(row("ann"), row("bob")))

    assert done.returncode == 0, done.stderr
    assert "2 queued, 0 queued before, 0 wrong." in done.stdout
    assert recipients() == ["ann@example.org", "bob@example.org"]
    with sqlite3.connect(tmp_path / "postroom.db") as connection:
        subjects = [one for (one,) in connection.execute("SELECT subject FROM notifications ORDER BY id")]
        headers = connection.execute("SELECT headers FROM contents").fetchall()
    connection.close()
    assert ["Ann" in subjects[0], "Bob" in subjects[1]] == [True, True]
    assert "Ann, Jr." in str(headers)


def test_wrong_rows_are_left_out_and_reported_with_their_number_and_reason(send, sheet, recipients, tmp_path):
    report = tmp_path / "report.csv"
    path = sheet(row("ann"), "nobody,,n,N,n\n", "bob@example.org\n", row("eve"), '\n"x@example.org","a\nb",x,X,x\n')
    done = send(path, "--report", str(report))

    assert done.returncode == 2
    assert "2 queued, 0 queued before, 3 wrong." in done.stdout
    assert recipients() == ["ann@example.org", "eve@example.org"]
    with report.open(newline="") as file:
        told = {one["row"]: one["reason"] for one in csv.DictReader(file)}
    assert told.keys() == {"3", "4", "7"}
    assert "/to" in told["3"]
    assert "cells" in told["4"]


def test_a_missing_variable_is_a_reason(send, sheet, recipients):
    done = send(sheet("ann@example.org,ann\n", header="email,user.username\n"))

    assert done.returncode == 2
    assert "row 2: /data/user/" in done.stdout
    assert recipients() == []


def test_a_dry_run_checks_every_row_and_queues_nothing(send, sheet, recipients):
    done = send(sheet(row("ann"), "nobody,,n,N,n\n"), "--dry-run")

    assert done.returncode == 2
    assert "1 would be queued, 0 queued before, 1 wrong." in done.stdout
    assert recipients() == []
    assert "1 queued, 0 queued before, 1 wrong." in send(sheet(row("ann"), "nobody,,n,N,n\n")).stdout


def test_the_same_file_again_queues_nothing_twice(send, sheet, recipients):
    path = sheet(row("ann"), row("bob"))
    send(path)
    again = send(path, "--batch-size", "1")

    assert "0 queued, 2 queued before, 0 wrong." in again.stdout
    assert len(recipients()) == 2


def test_another_content_is_another_mailing(send, sheet, recipients):
    send(sheet(row("ann")))
    send(sheet(row("ann"), row("bob")))

    assert recipients() == ["ann@example.org", "ann@example.org", "bob@example.org"]


def test_a_mailing_that_was_killed_goes_on_without_doubles(command, send, sheet, recipients):
    names = [f"user{number}" for number in range(600)]
    path = sheet(*map(row, names))
    process = subprocess.Popen(**command(path, "--batch-size", "20"), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not recipients() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = len(recipients())
    assert before % 20 == 0

    done = send(path, "--batch-size", "50")

    assert f"{600 - before} queued, {before} queued before, 0 wrong." in done.stdout
    assert recipients() == [f"{name}@example.org" for name in names]


def test_the_address_may_stand_in_another_column(send, sheet, recipients):
    header = "mail,user.username,user.name,user.email\n"
    done = send(sheet("ann@example.org,ann,Ann,x\n", header=header), "--column", "mail")

    assert done.returncode == 0, done.stderr
    assert recipients() == ["ann@example.org"]


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("address,name\n", "no column 'email'"),
        ("email,name,name\n", "name of its own: name"),
        ("email,user,user.name\n", "dotted"),
        ("", "no column"),
    ],
)
def test_a_file_that_cannot_be_sent_from_is_refused_in_a_sentence(send, sheet, recipients, header, told):
    done = send(sheet(header=header))

    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert recipients() == []


def test_an_unknown_template_is_refused_in_a_sentence(send, sheet):
    done = send(sheet(row("ann")), "--template", "unknown")

    assert done.returncode == 2
    assert "no such template" in done.stderr
