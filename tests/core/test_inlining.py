from html.parser import HTMLParser
from pathlib import Path

import pytest

from api.core.rendering import Library

STYLE = """<style>
p { color: red; margin: 0 }
.big { font-size: 20px }
#row b { color: blue }
a:hover { color: green }
@media (prefers-color-scheme: dark) { p { color: white !important } #x{color:pink} }
</style>"""


@pytest.fixture
def render(tmp_path):
    def render(html: str, data: dict | None = None, **others: str) -> str:
        for name, source in (
            {"t.txt": "", "t.html": html} | {f"_{name}.html": one for name, one in others.items()}
        ).items():
            (Path(tmp_path) / name).write_text(source, encoding="utf-8")
        library = Library([tmp_path])
        assert library.broken() == {}
        return library.render("t", data or {}).html

    return render


class Page(HTMLParser):
    """The text outside of style sheets, the sheets, and each element's attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.sheets = ""
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.cdata_elem == "style":
            self.sheets += data
        else:
            self.text += data

    def styles(self, tag: str) -> list[str | None]:
        return [attributes.get("style") for name, attributes in self.elements if name == tag]


def test_rules_go_into_the_tags_and_what_no_tag_can_say_stays(render):
    page = Page(render(f"<html><head>{STYLE}</head><body><p class='big'>a</p><div id=row><b>b</b></div></body></html>"))
    assert page.styles("p") == ["color:red;margin:0;font-size:20px"]
    assert page.styles("b") == ["color:blue"]
    assert "a:hover" in page.sheets
    assert "@media (prefers-color-scheme: dark) { p { color: white !important } #x{color:pink} }" in page.sheets
    assert "margin" not in page.sheets
    assert "font-size" not in page.sheets


def test_the_layout_s_sheet_reaches_blocks_includes_and_macros(render):
    page = Page(
        render(
            """{% extends "_l.html" %}{% import "_m.html" as m %}
{% macro own(x) %}<p class="own">{{ x }}</p>{% endmacro %}
{% block c %}{{ super() }}<p>block</p>{% include "_i.html" %}{{ m.para("macro") }}{{ own("own") }}{% endblock %}""",
            l=f"<html><head>{STYLE}</head><body>{{% block c %}}<p>base</p>{{% endblock %}}</body></html>",
            i="<p>included</p>",
            m="{% macro para(x) %}<p>{{ x }}</p>{% endmacro %}",
        )
    )
    assert page.styles("p") == ["color:red;margin:0"] * 5
    assert page.text.split() == ["baseblockincludedmacroown"]


def test_a_child_s_sheet_reaches_the_layout_for_that_child_alone(tmp_path):
    files = {
        "_l.html": "<html><head>{% block h %}{% endblock %}</head><body><p>a</p></body></html>",
        "t.html": '{% extends "_l.html" %}{% block h %}<style>p { color: red }</style>{% endblock %}',
        "u.html": '{% extends "_l.html" %}{% block h %}<style>p { color: blue }</style>{% endblock %}',
        "v.html": '{% extends "_l.html" %}',
    }
    for name, source in (files | {"t.txt": "", "u.txt": "", "v.txt": ""}).items():
        (tmp_path / name).write_text(source)
    library = Library([tmp_path])
    found = {name: Page(library.render(name, {}).html).styles("p") for name in library.names()}
    assert found == {"t": ["color:red"], "u": ["color:blue"], "v": [None]}


JINJA = [
    "{% for i in items %}<tr class='big'><td><p>{{ i }}</p></td></tr>{% endfor %}",
    "{% if x > 1 %}<p class='big'>{% else %}<p>{% endif %}text</p>",
    "<p {% if x %}class='big'{% else %}class=\"small\"{% endif %} title='{{ \"a>b\" }}'>text</p>",
    '<p class=\'{{ "big" if x > 0 else "" }}\'>text</p>',
    '<p style="padding: {{ x }}px">text</p><p style="color: green">b</p>',
    "<p style='font-family: \"{{ y }}\"'>text</p>",
    "<p>{{ '}}' }}{{ \"<p>\" }}{{ {'a': {'b': 1}}['a'] }}</p>",
    "<p>{% raw %}{{ not jinja }}{% endraw %}</p>",
    "<p>{# <p class='big'> #}{% set z %}<p>{{ y }}</p>{% endset %}{{ z }}</p>",
    "<p>&nbsp;&mdash;&lt; ä 𝄞   two  spaces\n\n\nlines</p><br><img alt='' src='cid:x'/>",
    "<!--[if mso]><p>only there</p><![endif]--><!-- {{ x }} --><p>unclosed<p>text",
    "<a href='{{ url }}' class=big>x</a><a href={{ url }}>y</a>",
    "{% block one %}<p>{% block two %}{{ x }}{% endblock %}</p>{% endblock %}{{ self.one() }}",
    "{% filter upper %}<p>{{ y }}</p>{% endfilter %}{%- if x -%} <p> a {%- endif +%} </p>",
    "{% macro m(x) %}<p>{{ x }}{{ caller() }}</p>{% endmacro %}{% call m(1) %}<b>c</b>{% endcall %}",
    "<style>p { width: {{ x }}px }</style><style media='print'>p { color: black }</style><p>text</p>",
    "<style>{% if x %}p { width: 1px }{% endif %}</style><style>@media print {p {color: red}}</style><p>text</p>",
    "<style>p{color:red}</style><style></style><style>\n</style><p>{% include '_i.html' %}{% include '_i.html' %}</p>",
    "<table>{% for i in items %}<tr>{% for j in items %}<td><p>{{ i }}{{ j }}{% endfor %}{% endfor %}</table>",
    "<p style=color:green>a</p><P CLASS=BIG STYLE='margin:1px'>b</P><p\nclass\n=\n'big'\n>c</p>",
    "<p title='a > b' data-x=\"it's\">a</p><textarea><p>no tag</p></textarea><title><p>no tag</p></title>",
]


@pytest.mark.parametrize("html", JINJA)
def test_inlining_never_changes_what_is_said(render, html):
    data = {"items": [1, 2], "x": 2, "y": "<y>", "url": "https://example.org/?a=1&b=2"}
    include = "<p class='big'>included</p>"
    plain = Page(render(html, data, i=include))
    page = Page(render(STYLE + html, data, i=include))
    assert page.text == plain.text
    without = [(tag, {**attributes, "style": None}) for tag, attributes in page.elements if tag != "style"]
    assert without == [(tag, {**attributes, "style": None}) for tag, attributes in plain.elements if tag != "style"]
    assert any(style for style in page.styles("p") + page.styles("a") if style)


def test_a_style_of_the_author_s_own_wins(render):
    html = "<p style='color: green'>a</p><p style='color: {{ c }}; padding: 1px'>b</p>"
    first, second = Page(render(STYLE + html, {"c": "black"})).styles("p")
    assert (first, second) == ("margin:0;color:green", "color:red;margin:0;color: black; padding: 1px")


def test_a_block_in_a_style_attribute_stays_one(render):
    page = Page(render(STYLE + "<p style='{% block s %}padding: {{ x }}px{% endblock %}'>a</p><p>b</p>", {"x": 2}))
    assert page.styles("p") == ["color:red;margin:0;padding: 2px", "color:red;margin:0"]


def test_a_class_known_only_while_rendering_keeps_the_whole_sheet(render):
    page = Page(render(STYLE + "<p class='big'>a</p><p class='{{ c }}'>b</p>", {"c": "big"}))
    assert ".big { font-size: 20px }" in page.sheets
    assert page.styles("p") == ["color:red;margin:0;font-size:20px", "color:red;margin:0"]


def test_a_sheet_for_other_media_or_with_jinja_in_it_is_left_alone(render):
    html = "<style media='print'>p { color: black }</style><style>p { width: {{ x }}px }</style><p>a</p>"
    assert render(html, {"x": 7}) == html.replace("{{ x }}", "7")


def test_where_jinja_would_read_another_template_the_source_stays(render):
    # Whoever looks for the end of the expression without parsing it sees a tag in what is a string.
    html = """{{ {'a': {'b': 1}}['a']['b'] ~ '<p>' }}<p>x</p>"""
    assert render(STYLE + html) == f"{STYLE}1&lt;p&gt;<p>x</p>"


def test_no_sheet_is_fetched_and_none_is_lost(render):
    link = '<link rel="stylesheet" href="http://127.0.0.1:9/x.css"><link rel="stylesheet" href="file:///etc/passwd">'
    html = render(f"{link}{STYLE}<p>a</p>")
    assert link in html
    assert Page(html).styles("p") == ["color:red;margin:0"]


def test_a_page_without_a_sheet_is_sent_as_it_was_written(render):
    html = "<TABLE><p  class = big>a<td>\n b"
    assert render(html) == html
