import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.core.errors import MissingVariables
from api.core.rendering import Library
from tests.chromium import chromium

FOLDER = Path(__file__).parents[2] / "templates" / "mail"
NAMES = sorted(path.name.removesuffix(".html") for path in FOLDER.glob("[!_]*.html"))
ENDINGS = [".example.json", ".html", ".subject.txt", ".txt"]
VOID = {"br", "hr", "img", "input", "link", "meta"}
WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40).filter(str.strip)


@pytest.fixture(scope="module")
def library():
    return Library([FOLDER])


class Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.misnested: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.misnested.append(tag)

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def shipped(library):
    """Render a template from its own example."""

    def render(name: str):
        mail = library.render(name, library.describe(name).example)
        return mail, Page(mail.html)

    return render


def test_the_two_mails_about_a_new_user_are_shipped(library):
    assert set(library.names()) >= {"new_user", "welcome"}
    assert library.names() == NAMES
    assert library.broken() == {}


def test_nothing_else_lies_in_the_folder():
    layouts = {"_layout.html", "_layout.txt"}
    assert {path.name for path in FOLDER.iterdir()} == layouts | {name + one for name in NAMES for one in ENDINGS}


@pytest.mark.parametrize("name", NAMES)
def test_a_template_renders_from_its_own_example_and_says_all_of_it_in_both_parts(shipped, library, name):
    mail, page = shipped(name)
    assert mail.subject
    for value in library.describe(name).example["user"].values():
        assert value in mail.text
        assert value in "".join(page.texts)


@pytest.mark.parametrize("name", ["new_user", "welcome"])
def test_the_users_mails_need_the_user_and_no_more(library, name):
    assert library.describe(name).variables == ("user", "user.email", "user.name", "user.username")
    with pytest.raises(MissingVariables) as caught:
        library.render(name, {"user": {}})
    assert sorted(caught.value.names) == ["user.email", "user.name", "user.username"]


@pytest.mark.parametrize("name", ["new_user", "welcome"])
def test_a_user_without_a_name_is_told_of_without_one(library, name):
    mail = library.render(name, {"user": {"username": "ann", "name": None, "email": "ann@example.org"}})
    assert "None" not in f"{mail.subject}{mail.text}{mail.html}"
    assert "Name:" not in mail.text
    assert ">Name<" not in mail.html
    assert "ann" in (mail.subject or "")


@pytest.mark.parametrize("name", ["new_user", "welcome"])
@given(username=WORDS, full=WORDS, email=WORDS)
def test_no_data_becomes_markup(library, name, username, full, email):
    mail = library.render(name, {"user": {"username": username, "name": full, "email": email}})
    page = Page(mail.html)
    usual = Page(library.render(name, library.describe(name).example).html)
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in usual.elements]
    assert page.misnested == []
    assert all(value in "".join(page.texts) and value in mail.text for value in (username, full, email))
    assert len(page.texts) == len(usual.texts)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_whole_and_asks_nobody_for_anything(shipped, name):
    mail, page = shipped(name)
    assert (page.open, page.misnested) == ([], [])
    assert not re.search(r"https?:|//|url\(|@import|@font-face|<img|<link|<script", mail.html.replace("<!doctype", ""))
    assert len(mail.html) < 20_000


@pytest.mark.parametrize("name", NAMES)
def test_a_page_can_be_read_by_a_screen_reader(shipped, name):
    mail, page = shipped(name)
    assert page.all("html")[0]["lang"] == "en"
    assert [attributes["lang"] for attributes in page.all("div") if attributes.get("role") == "article"] == ["en"]
    assert len(page.all("h1")) == 1
    assert "<title></title>" not in mail.html
    assert all(attributes.get("scope") in {"row", "col"} for attributes in page.all("th"))
    data_tables = [attributes for attributes in page.all("table") if attributes.get("role") != "presentation"]
    assert all(attributes.get("class") == "facts" for attributes in data_tables)


@pytest.mark.parametrize("name", NAMES)
def test_styles_are_inlined_once_and_the_media_rules_are_kept(shipped, name):
    mail, page = shipped(name)
    sheet = mail.html.partition("<style>")[2].partition("</style>")[0]
    assert mail.html.count("<style>") == 1
    assert "prefers-color-scheme: dark" in sheet
    assert "max-width: 480px" in sheet
    assert "border-collapse" not in sheet
    assert all("style" in attributes for tag in ("h1", "p", "td", "th", "body") for attributes in page.all(tag))
    assert {"name": "color-scheme", "content": "light dark"} in page.all("meta")


@pytest.mark.parametrize("name", NAMES)
def test_the_text_fits_a_narrow_window(shipped, name):
    mail, _ = shipped(name)
    assert all(len(line) <= 72 and line == line.rstrip() for line in mail.text.splitlines())
    assert "\n\n\n" not in mail.text


def rules(css: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for selectors, body in re.findall(r"([^{}]+)\{([^{}]*)\}", css):
        for selector in selectors.split(","):
            declarations = re.findall(r"([\w-]+)\s*:\s*([^;]+?)\s*(?:!important)?;", body)
            found.setdefault(selector.strip(), {}).update(dict(declarations))
    return found


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, 1 to 21 (WCAG 2.2, relative luminance)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    darker, lighter = sorted([luminance(one), luminance(other)])
    return (lighter + 0.05) / (darker + 0.05)


def test_every_colour_of_text_can_be_told_from_the_card_in_both_schemes():
    css = re.sub(r"/\*.*?\*/", "", (FOLDER / "_layout.html").read_text().partition("<style>")[2], flags=re.DOTALL)
    light, _, rest = css.partition("@media (prefers-color-scheme: dark) {")
    dark = rest.partition("@media")[0]
    for scheme in (rules(light), rules(dark)):
        card = scheme[".card"]["background-color"]
        for selector in ("h1", "p", "a", ".facts th", ".facts td", ".reason"):
            assert contrast(scheme[selector]["color"], card) >= 4.5, selector


def test_an_operator_s_pair_takes_the_place_of_a_shipped_one(tmp_path):
    (tmp_path / "new_user.txt").write_text("User {{ user.username }} has joined.\n")
    (tmp_path / "new_user.html").write_text("User <b>{{ user.username }}</b> has joined.\n")
    user = json.loads((FOLDER / "new_user.example.json").read_text())
    mail = Library([tmp_path, FOLDER]).render("new_user", user)
    assert (mail.text, mail.html) == ("User ann has joined.", "User <b>ann</b> has joined.")


@pytest.mark.browser
def test_a_real_browser_shows_it_on_a_phone_in_the_dark(library):
    long = {"username": "u" * 64, "name": "N" * 100, "email": "e" * 60 + "@" + "d" * 60 + ".example"}
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 320, "height": 600}, color_scheme="dark")
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        for name in ("new_user", "welcome"):
            page.set_content(library.render(name, {"user": long}).html)
            assert page.evaluate("document.documentElement.scrollWidth") == 320
            colour = "getComputedStyle(document.querySelector('.card')).backgroundColor"
            assert page.evaluate(colour) == "rgb(28, 34, 43)"
            assert not page.locator(".preheader").is_visible()
    assert requests == []
