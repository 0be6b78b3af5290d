"""/docs in a real Chromium: authorise, try out, and ask nobody else for anything."""

import json
import re
import threading
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import ConsoleMessage, Page
from werkzeug.serving import make_server

from api.core import keys
from schemas.vocabulary import Scope
from tests.chromium import CHROMIUM, chromium

pytestmark = [
    pytest.mark.once,
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


@pytest.fixture(scope="module")
def browser():
    """One Chromium for the tests of this file."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser, base):
    """A visit to the page."""
    with browser.new_context() as profile:
        visit = Visit(profile.new_page())
        visit.listen()
        visit.page.set_default_timeout(120_000)
        visit.page.goto(f"{base}/docs")
        visit.page.wait_for_selector(".opblock")
        yield visit


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


def try_out(page, operation, *, body=None, **parameters):
    """Try an operation out with a body and parameters of one's own; return the status and the answer as shown."""
    block = page.locator(f"[id$='-{operation}']")
    block.locator(".opblock-summary-control").click()
    block.locator(".try-out__btn").click()
    for name, value in parameters.items():
        block.locator(f"tr[data-param-name='{name}'] input").fill(value)
    if body is not None:
        block.locator("textarea.body-param__text").fill(json.dumps(body))
    block.locator(".execute").click()
    answer = block.locator(".live-responses-table .response").last
    return answer.locator(".response-col_status").inner_text().split()[0], answer.inner_text()


def test_whoever_sends_a_mail_from_the_page_can_open_its_status_link(visit, base, app):
    secret = keys.create(name="docs", scopes=[Scope.ADMIN])[1]
    authorize(visit.page, secret)
    message = {"to": "ann@example.org", "subject": "From the page", "text": "Good day.\n", "status_token": True}

    status, shown = try_out(visit.page, "send_notification", body=message)

    assert status == "202"
    sent = dict(re.findall(r'"(id|url|status_token|subject)": "([^"]+)"', shown))
    assert sent["subject"].endswith("From the page")
    # The headers are shown as well, because the page is of the same origin.
    assert "location:" in shown
    assert "ratelimit:" in shown

    # As the page has it, Prefer waits half a minute for a change.
    status, shown = try_out(visit.page, "get_notification", notification_id=sent["id"], Prefer="wait=1")
    assert status == "200"
    assert '"status": "queued"' in shown
    assert '"recipient": "ann@example.org"' in shown

    # The link is of the public URL; what it leads to here is the same path of this test's own server.
    path = urlsplit(sent["url"]).path
    tab = visit.page.context.new_page()
    answer = tab.goto(f"{base}{path}?token={sent['status_token']}")
    assert answer is not None
    assert answer.status == 200
    read = json.loads(tab.inner_text("body"))
    assert (read["id"], read["status"]) == (sent["id"], "queued")

    asked = [url for url in visit.asked if not url.startswith(("data:", "blob:"))]
    assert {urlsplit(url).hostname for url in asked} == {"127.0.0.1"}
    assert visit.complaints == []
