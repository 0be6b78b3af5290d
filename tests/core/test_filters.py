from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from api.core.filters import safe_url
from api.core.rendering import Library

TEMPLATE = """<a href="{{ x|safe_url }}">1</a><a href='{{ x|safe_url }}'>2</a><a href={{ x|safe_url }}>3</a>"""


class Links(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, attrs))


@pytest.fixture(scope="module")
def links(tmp_path_factory):
    folder = tmp_path_factory.mktemp("links")
    (folder / "t.txt").write_text("{{ x|safe_url }}")
    (folder / "t.html").write_text(TEMPLATE)
    library = Library([folder])
    return lambda x: Links(library.render("t", {"x": x}).html).tags


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org",
        "http://example.org/a?b=1&c=2#d",
        "HTTPS://EXAMPLE.ORG/",
        "mailto:ann@example.org?subject=Hi",
        "https://user@example.org:8443/a%20b/~c;d=(e)",
        "https://bücher.example/ä?ö=ü",
    ],
)
def test_a_web_or_mail_address_stays_as_it_is(links, url):
    assert safe_url(url) == url
    assert links(url) == [("a", [("href", url)])] * 3


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        "java\tscript:alert(1)",
        "java\r\nscript:alert(1)",
        "\x01javascript:alert(1)",
        " \n javascript:alert(1)",
        "&#106;avascript:alert(1)",
        "javascript&colon;alert(1)",
        "javascript://https://example.org/%0aalert(1)",
        "data:text/html,<script>alert(1)</script>",
        "vbscript:x",
        "file:///etc/passwd",
        "ftp://example.org",
        "//example.org",
        "/path",
        "?a",
        "#",
        "",
        " ",
        "example.org",
        "https:",
        "https:/example.org",
        "https:///example.org",
        "https:\\\\example.org",
        "http://",
        "mailto:",
        "x:https://example.org",
        "blob:https://example.org",
        "\ufeffjavascript:x",
        "https://example.org/\ud800",
        None,
        5,
        True,
        ["https://example.org"],
        {"a": 1},
    ],
)
def test_every_other_address_leads_nowhere(url):
    assert safe_url(url) == "#"


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        (" \t https://example.org \n", "https://example.org"),
        ("ht\ttps://exam\nple.org", "https://example.org"),
        ('https://example.org/"onclick="x', "https://example.org/%22onclick=%22x"),
        ("https://example.org/'><script>`\\", "https://example.org/%27%3E%3Cscript%3E%60%5C"),
        ("https://example.org/a b\u2028c\u202ed", "https://example.org/a%20b%E2%80%A8c%E2%80%AEd"),
        (Markup("https://example.org/?a=1&amp;b=%s") % "x&y", "https://example.org/?a=1&b=x&y"),
    ],
)
def test_what_could_end_an_attribute_is_encoded(url, safe):
    assert safe_url(url) == safe


@given(
    st.one_of(
        st.text(st.characters(exclude_characters="\0"), max_size=30),
        st.tuples(
            st.sampled_from(["https://", "http://", "mailto:", "javascript:", "java\tscript:", " data:"]),
            st.text(max_size=30),
        ).map("".join),
    )
)
def test_no_data_leaves_the_attribute_or_the_three_schemes(links, x):
    tags = links(x)
    assert [tag for tag, _ in tags] == ["a"] * 3
    for _, attributes in tags:
        ((name, value),) = attributes
        assert name == "href"
        assert value == "#" or value.lower().startswith(("https://", "http://", "mailto:"))
        assert value == safe_url(x)
