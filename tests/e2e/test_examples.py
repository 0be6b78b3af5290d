"""The examples of the documentation, each run as it stands against a real server."""

import functools
import os
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from tests.e2e.server import PATIENCE, Server
from tests.rest.test_docs_browser import ARGUMENTS, CHROMIUM

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
#: How each example is run, and what must be there for it.
PROGRAMS = [
    pytest.param(("bash", "send.sh"), id="curl", marks=pytest.mark.curl),
    pytest.param((sys.executable, "send.py"), id="python"),
    pytest.param(("node", "send.mjs"), id="node", marks=pytest.mark.node),
]


def run(program: tuple[str, str], server: Server, *recipients: str, key: str = "") -> subprocess.CompletedProcess[str]:
    interpreter, script = program
    return subprocess.run(
        [interpreter, str(EXAMPLES / script), *recipients],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={
            "PATH": os.environ["PATH"],
            "POSTROOM_URL": f"http://127.0.0.1:{server.port}",
            "POSTROOM_KEY": key or server.key,
        },
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_it_sends_a_mail_and_follows_it_to_its_end(start, relay, program):
    done = run(program, start(), "ann@example.org")

    assert done.stdout.splitlines()[-1:] == ["sent"], done.stderr
    assert done.returncode == 0
    [mail] = relay.wait_for(1)
    assert mail.recipients == ("ann@example.org",)
    assert mail.parsed["Subject"] == "Your order"


@pytest.mark.parametrize("program", PROGRAMS)
def test_it_says_why_it_was_refused(start, program):
    done = run(program, start(), "ann@example.org", key="pr_live_wrong")

    assert done.returncode != 0
    assert "Unauthorized" in done.stdout + done.stderr or "401" in done.stdout + done.stderr


@pytest.mark.browser
def test_a_page_of_another_origin_sends_a_mail_and_shows_how_it_ends(start, relay):
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(EXAMPLES))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as pages:
        threading.Thread(target=pages.serve_forever, daemon=True).start()
        origin = f"http://127.0.0.1:{pages.server_port}"
        server = start(POSTROOM_CORS_ORIGINS=origin)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            page = browser.new_page()
            complaints: list[str] = []
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.goto(f"{origin}/send.html")
            page.fill("[name=url]", f"http://127.0.0.1:{server.port}")
            page.fill("[name=key]", server.key)
            page.fill("[name=to]", "ann@example.org")
            page.click("button")
            page.wait_for_function("document.querySelector('output').textContent === 'sent'", timeout=120_000)
            browser.close()
        pages.shutdown()
    assert complaints == []
    assert [mail.recipients for mail in relay.wait_for(1)] == [("ann@example.org",)]
