"""/docs in a real Chromium: authorise, try out, and ask nobody else for anything."""

import shutil
import threading
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import ConsoleMessage, Page, sync_playwright
from werkzeug.serving import make_server

from api.core import keys
from schemas.vocabulary import Scope

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
#: Root needs no sandbox here; the rest keeps the browser itself from looking for its maker.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium"),
]


@pytest.fixture
def base(app):
    """The address of a real server."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Visit:
    """The page in a browser, what it asked for, and what the console complained of."""

    page: Page
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def listen(self) -> None:
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(message.text)


@pytest.fixture
def visit(base):
    """A visit to the page."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        visit = Visit(browser.new_page())
        visit.listen()
        visit.page.set_default_timeout(30_000)
        visit.page.goto(f"{base}/docs")
        visit.page.wait_for_selector(".opblock")
        yield visit
        browser.close()


def authorize(page, secret):
    page.click(".btn.authorize")
    page.fill(".auth-container input", secret)
    page.click(".auth-btn-wrapper .authorize")
    page.click(".auth-btn-wrapper .btn-done")


def execute(page, operation):
    """Try an operation out as it stands; return the status that the page shows."""
    block = page.locator(f"[id$='-{operation}']")
    block.locator(".opblock-summary-control").click()
    block.locator(".try-out__btn").click()
    block.locator(".execute").click()
    return block.locator(".live-responses-table .response-col_status").last.inner_text().split()[0]


def test_whoever_authorises_can_try_the_api_out(visit, base, app):
    secret = keys.create(name="docs", scopes=[Scope.ADMIN])[1]

    assert execute(visit.page, "list_transports") == "401"
    authorize(visit.page, secret)

    assert execute(visit.page, "list_templates") == "200"
    assert execute(visit.page, "register_user") == "202"
    assert execute(visit.page, "send_notification") == "202"
    assert execute(visit.page, "preview_template") == "200"
    asked = [url for url in visit.asked if not url.startswith("data:")]
    assert {urlsplit(url).netloc for url in asked} == {urlsplit(base).netloc}
    # A refusal is an error to the console; a breach of the page's own policy would be another.
    assert [said for said in visit.complaints if "Failed to load resource" not in said] == []
