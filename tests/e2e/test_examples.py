"""The examples of the documentation, each run as it stands against a real server."""

import functools
import os
import re
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import playwright
import pytest
from playwright.sync_api import Page

from tests.chromium import chromium
from tests.e2e.server import PATIENCE, Server

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = DOCS / "examples"
#: The Node that Playwright brings along for itself.
NODE = str(Path(playwright.__file__).parent / "driver" / "node")
#: How each example is run, and what must be there for it.
PROGRAMS = [
    pytest.param(("bash", "send.sh"), id="curl", marks=pytest.mark.curl),
    pytest.param((sys.executable, "send.py"), id="python"),
    pytest.param((NODE, "send.mjs"), id="node"),
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


@pytest.fixture(scope="module")
def browser():
    """One Chromium for the tests of this file."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser):
    """Serve a folder from an origin of its own, and open one of its pages there: `visit(folder)` gives origin, page."""
    with ExitStack() as stack:

        def visit(folder: Path) -> tuple[str, Page]:
            handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
            pages = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), handler))
            threading.Thread(target=pages.serve_forever, daemon=True).start()
            stack.callback(pages.shutdown)
            page = stack.enter_context(browser.new_context()).new_page()
            page.set_default_timeout(120_000)
            return f"http://127.0.0.1:{pages.server_port}", page

        yield visit


@pytest.mark.browser
def test_a_page_of_another_origin_sends_a_mail_and_shows_how_it_ends(start, relay, visit):
    origin, page = visit(EXAMPLES)
    server = start(POSTROOM_CORS_ORIGINS=origin)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{origin}/send.html")
    page.fill("[name=url]", f"http://127.0.0.1:{server.port}")
    page.fill("[name=key]", server.key)
    page.fill("[name=to]", "ann@example.org")
    page.click("button")
    page.wait_for_function("document.querySelector('output').textContent === 'sent'")
    assert complaints == []
    assert [mail.recipients for mail in relay.wait_for(1)] == [("ann@example.org",)]


@pytest.mark.browser
class TestLiveStatus:
    """The two functions that docs/live-status.md gives to pages, as they stand there."""

    MESSAGE: ClassVar = {"to": "ann@example.org", "subject": "Hello", "text": "Good day.\n", "status_token": True}

    @pytest.fixture
    def watch(self, tmp_path, start, visit):
        """Have a page follow a message that goes out once the page knows it; return what the page was shown."""

        def watch(function: str, *, token: str | None = None, **settings: object) -> list[str]:
            code = re.findall(r"^```js\n(.*?)^```", (DOCS / "live-status.md").read_text(), re.DOTALL | re.MULTILINE)
            assert len(code) == 2
            folder = tmp_path / "page"
            folder.mkdir()
            (folder / "index.html").write_text(f"<!doctype html><script>{''.join(code)}</script>")
            origin, page = visit(folder)
            server = start(POSTROOM_CORS_ORIGINS=origin, **settings)
            page.clock.install()
            page.goto(f"{origin}/index.html")
            later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
            sent = server.post("/v1/notifications", {**self.MESSAGE, "send_at": later}).body
            path = f"/v1/notifications/{sent['id']}"
            page.evaluate(
                f"""([url, token]) => {{
                    window.seen = []; window.failed = [];
                    window.addEventListener("unhandledrejection", (event) => failed.push(event.reason.message));
                    {function}(url, token, (status) => seen.push(status.status));
                }}""",
                [f"http://127.0.0.1:{server.port}{path}", token or sent["status_token"]],
            )
            page.wait_for_function("seen.length || failed.length")
            assert server.request("PATCH", path, b'{"send_at": null}').status == 200
            deadline = time.monotonic() + PATIENCE
            while not page.evaluate("seen.at(-1) === 'sent' || failed.length"):
                assert time.monotonic() < deadline, page.evaluate("seen")
                page.clock.fast_forward(60_000)  # a page that may not wait was told to ask again in a minute
                page.wait_for_timeout(50)
            seen: list[str] = page.evaluate("seen.concat(failed)")
            return seen

        return watch

    @pytest.mark.parametrize("function", ["poll", "follow"])
    def test_a_page_is_shown_each_state_from_the_first_to_the_last(self, watch, function):
        seen = watch(function)
        assert (seen[0], seen[-1]) == ("scheduled", "sent")
        assert set(seen) <= {"scheduled", "queued", "sending", "sent"}

    def test_a_page_that_may_not_follow_any_more_asks_again_instead(self, watch):
        seen = watch("follow", POSTROOM_WAITERS=0)
        assert (seen[0], seen[-1]) == ("scheduled", "sent")

    @pytest.mark.parametrize("function", ["poll", "follow"])
    def test_a_page_with_a_token_that_is_not_good_is_told_so(self, watch, function):
        assert watch(function, token="made-up") == ["status 401"]
