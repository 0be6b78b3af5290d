import os
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.core.errors import BadTemplate, FieldError, MissingVariables, UnknownTemplate
from api.core.rendering import Library, Rendered, TemplateInfo

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=200)


def write(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8", newline="")
    return folder


@pytest.fixture
def library(tmp_path):
    def build(files: dict[str, str], **options) -> Library:
        return Library([write(tmp_path / "mail", files)], **options)

    return build


@pytest.fixture
def rendered(library):
    def render(text: str = "", html: str = "", data: dict | None = None, subject: str | None = None) -> Rendered:
        subjects = {} if subject is None else {"t.subject.txt": subject}
        return library({"t.txt": text, "t.html": html, **subjects}).render("t", data or {})

    return render


@pytest.fixture
def missing(rendered):
    def names(*args, **kwargs) -> list[str]:
        with pytest.raises(MissingVariables) as caught:
            rendered(*args, **kwargs)
        return list(caught.value.names)

    return names


@pytest.fixture
def refused(rendered):
    def error(*args, **kwargs) -> BadTemplate:
        with pytest.raises(BadTemplate) as caught:
            rendered(*args, **kwargs)
        return caught.value

    return error


@pytest.fixture(scope="module")
def echo(tmp_path_factory) -> Library:
    files = {"t.txt": "[{{ x }}]", "t.html": '<p title="{{ x }}">{{ x }}</p>', "t.subject.txt": "S {{ x }}"}
    return Library([write(tmp_path_factory.mktemp("echo"), files)])


# The pair, its subject, its names


def test_a_pair_without_a_subject_renders_as_it_stands(library):
    pair = {
        "new_user.txt": "User {{ user.username }} has joined.",
        "new_user.html": "User <b>{{ user.username }}</b> has joined.",
    }
    mail = library(pair).render("new_user", {"user": {"username": "ann"}})
    assert (mail.subject, mail.text, mail.html) == (None, "User ann has joined.", "User <b>ann</b> has joined.")


def test_the_example_and_the_subject_are_described(library):
    found = library({"t.txt": "{{ b.c }}", "t.html": "{{ a }}", "t.subject.txt": "s", "t.example.json": '{"a": 1}'})
    info = found.describe("t")
    assert info == TemplateInfo("t", info.version, ("a", "b", "b.c"), (), True, {"a": 1})


def test_an_example_that_is_no_object_is_a_fault_and_no_more(library):
    found = library({"t.txt": "", "t.html": "", "t.example.json": "[1]"})
    assert found.describe("t").example is None
    assert found.broken() == {"t.example": "t.example.json is not a JSON object."}
    assert found.render("t", {}).text == ""


@pytest.mark.parametrize(("ending", "absent"), [(".txt", ".html"), (".html", ".txt")])
def test_a_template_with_one_of_the_two_files_is_refused_by_name(library, ending, absent):
    found = library({"half" + ending: "x", "whole.txt": "", "whole.html": ""})
    sentence = f"The template 'half' is incomplete: half{absent} is missing."
    with pytest.raises(BadTemplate) as caught:
        found.render("half", {})
    assert caught.value.errors == (FieldError("/template", sentence, "incomplete_template"),)
    assert str(caught.value) == sentence
    assert found.names() == ["whole"]
    assert found.broken() == {"half": sentence}
    with pytest.raises(UnknownTemplate):
        found.describe("half")


def test_a_subject_alone_is_no_template(library):
    found = library({"t.subject.txt": "s"})
    assert found.names() == []
    assert found.broken() == {"t": "The template 't' is incomplete: t.txt and t.html are missing."}


@pytest.mark.parametrize(
    "name",
    [
        "",
        "absent",
        "_layout",
        "T",
        "t.txt",
        "t.de",
        "../mail/t",
        "./t",
        "/etc/passwd",
        "mail/t",
        "..",
        "t\0",
        "t\n",
        "t ",
        "-t",
        "t" * 65,
        "\uff54",
        "t:t.txt",
        "{{ t }}",
    ],
)
def test_any_other_name_is_unknown_and_is_not_told_back(library, tmp_path, name):
    found = library({"t.txt": "", "t.html": "", "_layout.txt": "", "_layout.html": "", "T.txt": "", "T.html": ""})
    for call in (lambda: found.describe(name), lambda: found.render(name, {})):
        with pytest.raises(UnknownTemplate) as caught:
            call()
        assert caught.value.detail == "There is no such template."
        assert str(tmp_path) not in repr(caught.value.errors)
    assert found.names() == ["t"]


def test_names_are_looked_up_without_touching_the_disk(library, tmp_path):
    found = library({"t.txt": "x", "t.html": "y"})
    for file in (tmp_path / "mail").iterdir():
        file.unlink()
    assert found.render("t", {}).text == "x"


def test_folders_that_are_not_there_hold_no_templates(tmp_path):
    assert Library([tmp_path / "nowhere"]).names() == []


# Escaping


@given(x=TEXTS)
def test_data_is_escaped_in_html_and_literal_in_text(echo, x):
    mail = echo.render("t", {"x": x})
    escaped = x
    for raw, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&#34;"), ("'", "&#39;")):
        escaped = escaped.replace(raw, entity)
    assert mail.text == f"[{x}]"
    assert mail.html == f'<p title="{escaped}">{escaped}</p>'


@pytest.mark.parametrize("x", ["{{7*7}}", "{% raw %}", "{# #}", "{{ x }}", "{{ ''.__class__ }}", "%s", "{0}"])
def test_template_syntax_in_data_stays_literal(echo, x):
    mail = echo.render("t", {"x": x})
    assert (mail.subject, mail.text, mail.html.count(x.replace("'", "&#39;"))) == (f"S {x}", f"[{x}]", 2)


def test_a_text_file_included_in_html_is_escaped_too(library):
    files = {"t.txt": '{% include "_x.txt" %}', "t.html": '{% include "_x.txt" %}', "_x.txt": "{{ x }}"}
    mail = library(files).render("t", {"x": "<b>"})
    assert (mail.text, mail.html) == ("<b>", "&lt;b&gt;")


def test_null_is_nothing_and_not_a_word(rendered):
    mail = rendered("Hello {{ name }}!", "<p>{{ name }}</p>", {"name": None})
    assert (mail.text, mail.html) == ("Hello !", "<p></p>")


# The subject


@given(x=TEXTS)
def test_a_subject_is_one_printable_line_whatever_the_data(echo, x):
    subject = echo.render("t", {"x": x}).subject
    assert subject.startswith("S")
    assert subject == " ".join(subject.split())
    assert subject.splitlines() == [subject]
    assert not any(ord(one) < 0x20 or 0x7F <= ord(one) <= 0x9F or 0x202A <= ord(one) <= 0x202E for one in subject)


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\v", "\f", "\x85", "\u2028", "\u2029", "\x1c", " \t \r\n\t "])
def test_every_kind_of_line_end_in_a_subject_becomes_one_space(rendered, end):
    assert rendered(subject="{{ x }}\n", data={"x": f"{end}a{end}Bcc: b{end}"}).subject == "a Bcc: b"


def test_control_characters_and_bidi_overrides_are_dropped_from_a_subject(rendered):
    assert rendered(subject="{{ x }}", data={"x": "a\x07\x1b[0m\u202e\u2066b\x7f\x9f"}).subject == "a[0mb"


def test_joiners_and_direction_marks_stay_in_a_subject(rendered):
    assert (
        rendered(subject="{{ x }}", data={"x": "👩\u200d💻 \u200f\u05e9\u05dc\u05d5\u05dd"}).subject
        == "👩\u200d💻 \u200f\u05e9\u05dc\u05d5\u05dd"
    )


@pytest.mark.parametrize("subject", ["", " \n", "{{ x }}", "{% if x %}a{% endif %}"])
def test_an_empty_subject_is_refused(refused, subject):
    assert refused(subject=subject, data={"x": ""}).errors[0].code == "empty_subject"


def test_a_subject_longer_than_a_header_line_is_refused(rendered, refused):
    assert rendered(subject="{{ x }}", data={"x": "a" * 998}).subject == "a" * 998
    assert refused(subject="{{ x }}", data={"x": "a" * 999}).errors[0].pointer == "/data"


# What is missing


def test_all_missing_variables_of_all_parts_are_named_in_order_and_once(missing):
    names = missing(
        "{{ a }} {{ user.email }} {{ user.name }} {{ a }}",
        "{{ b }}{{ user.email }}{% if c %}{{ d }}{% endif %}",
        {"user": {"name": "Ann"}},
        subject="{{ e }}",
    )
    assert names == ["a", "user.email", "b", "c", "e"]


def test_what_is_missing_is_pointed_at(library):
    found = library({"t.txt": "{{ user.email }}", "t.html": ""})
    with pytest.raises(MissingVariables) as caught:
        found.render("t", {"user": {}})
    assert [(error.pointer, error.code) for error in caught.value.errors] == [("/data/user/email", "missing_variable")]


@pytest.mark.parametrize(
    ("text", "data", "names"),
    [
        ("{{ user.email }}{{ user.name }}", {}, ["user.email", "user.name"]),
        ("{{ a.b.c.d }}", {"a": {"b": {}}}, ["a.b.c.d"]),
        ("{{ user['e-mail'] }}", {"user": {}}, ["user.e-mail"]),
        (
            "{% for i in items %}{{ i.name }}{% endfor %}",
            {"items": [{}, {"name": "x"}, {}]},
            ["items.0.name", "items.2.name"],
        ),
        ("{% for i in order.items %}{{ i }}{% endfor %}", {"order": {}}, ["order.items"]),
        ("{{ items[3].name }}", {"items": []}, ["items.3.name"]),
        ("{{ items.0 }}", {"items": []}, ["items.0"]),
        ("{{ user.name.first }}", {"user": {"nick": None, "name": None}}, ["user.name.first"]),
        (
            "{% for u in users %}{{ u.name.first }}{% endfor %}",
            {"x": None, "users": [{"name": None}]},
            ["users.0.name.first"],
        ),
        ("{{ a|upper }}{{ b ~ c }}{{ d + 1 }}{{ 1 + e }}{{ -f }}", {}, list("abcdef")),
        ("{{ a|length }}{{ b|join }}{{ c|int }}{{ d|float }}{{ e|round }}{{ f|abs }}", {}, list("abcdef")),
        ("{{ a == 1 }}{{ b < 1 }}{{ 1 in c }}{{ not d }}{{ e() }}{{ f[1:] }}", {}, list("abcdef")),
        ("{{ a|tojson }}{{ '%s'|format(b) }}{{ '{}'.format(c) }}{{ d|default(e) }}", {}, list("abce")),
        ("{{ a|sort|first }}{{ b|items|list }}{{ c|map(attribute='x')|list }}{{ d % 2 }}", {}, list("abcd")),
        ("{{ items|map(attribute='x')|join }}", {"items": [{}]}, ["items.0.x"]),
        ("{{ items|sum(attribute='x') }}", {"items": [{"x": 1}, {}]}, ["items.1.x"]),
        ("{{ (items|first).x }}", {"items": [{}]}, ["items.0.x"]),
        ("{% set u = user %}{{ u.name }}", {"user": {}}, ["user.name"]),
        (
            "{% macro m(u) %}{{ u.name }}{% endmacro %}{{ m(user) }}{{ m(other) }}",
            {"user": {}},
            ["user.name", "other.name"],
        ),
        ("{{ a }}{{ 1 / 0 }}", {}, ["a"]),
        ("{{ [a, {'k': b}] }}", {}, ["a", "b"]),
        ("{{ 1 // a }}{{ range(b)|list }}", {}, ["a", "b"]),
    ],
)
def test_a_missing_variable_is_named_by_its_path(missing, text, data, names):
    assert missing(text, data=data) == names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ x is defined }} {{ x.y is defined }} {{ user.x is undefined }}", "False False True"),
        ("{{ x|default('d') }} {{ x.y|d('e') }} {{ user.x|default('f', true) }}", "d e f"),
        ("{{ user.x if user.x is defined else 'none' }}", "none"),
        ("{% if x is defined and x.y.z %}a{% else %}b{% endif %}", "b"),
        ("{% if false %}{{ x }}{% endif %}{{ user.name or x }}", "Ann"),
        ("{{ x is none }}", "False"),
    ],
)
def test_what_is_only_asked_for_is_not_missing(rendered, text, said):
    assert rendered(text, data={"user": {"name": "Ann"}}).text == said


def test_a_hundred_missing_names_are_enough(missing):
    names = missing("{% for i in items %}{{ i.x }}{% endfor %}", data={"items": [{} for _ in range(5000)]})
    assert names == [f"items.{number}.x" for number in range(100)]


def test_a_macro_called_without_its_argument_is_the_template_s_fault(refused):
    error = refused("{% macro m(u) %}{{ u }}{% endmacro %}{{ m() }}")
    assert error.errors[0].code == "broken_template"
    assert "parameter 'u' was not provided" in error.detail


# The data


def test_the_data_s_keys_win_over_methods(rendered):
    data = {"order": {"items": [1, 2], "keys": "k", "get": "g", "values": None, "copy": "c"}}
    text = "{{ order.items|join(',') }} {{ order.keys }} {{ order.get }} {{ order.values is none }} {{ order.copy }}"
    assert rendered(text, data=data).text == "1,2 k g True c"


def test_methods_of_plain_data_can_be_called(rendered):
    text = "{% for k, v in d.items() %}{{ k.upper() }}={{ '{:,.2f}'.format(v) }};{% endfor %}{{ 'b'.ljust(3) }}|"
    assert rendered(text, data={"d": {"a": 1234.5}}).text == "A=1,234.50;b  |"


def test_data_may_have_the_names_of_what_jinja_gives(rendered):
    assert (
        rendered("{{ range }} {{ dict.x }} {{ namespace }}", data={"range": 1, "dict": {"x": 2}, "namespace": 3}).text
        == "1 2 3"
    )


class Dangerous:
    calls = 0

    def __str__(self) -> str:
        Dangerous.calls += 1
        return "called"

    __html__ = name = __str__


@pytest.mark.parametrize(
    "data", [{"x": Dangerous()}, {"x": [{"y": Dangerous()}]}, {"x": {1: 2}}, {"x": {1}}, {"x": b"b"}]
)
def test_only_plain_data_is_taken(refused, data):
    error = refused("{{ x }}{{ x.name() }}", "{{ x }}", data)
    assert error.errors[0].pointer == "/data"
    assert Dangerous.calls == 0


def test_data_that_is_nested_too_deep_is_refused(refused):
    data: dict = {}
    for _ in range(5000):
        data = {"x": data}
    assert refused("{{ x }}", data=data).errors[0].pointer == "/data"


@pytest.mark.parametrize("bad", ["\0", "a\ud800b"])
@pytest.mark.parametrize("part", ["text", "html"])
def test_content_that_no_store_can_hold_is_refused(refused, part, bad):
    error = refused(**{part: "{{ x }}"}, data={"x": bad})
    assert (error.errors[0].pointer, error.errors[0].code) == ("/data", "bad_text")


# Locales

LOCALES = {
    "t.txt": "base",
    "t.html": "base",
    "t.subject.txt": "base",
    "t.de.txt": "de {{ x }}",
    "t.de.html": "de {{ nur_de }}",
    "t.de.subject.txt": "deutsch",
    "t.pt-BR.txt": "br",
    "t.pt-BR.html": "br",
    "t.zh_Hant.txt": "zh",
    "t.zh_Hant.html": "zh",
}
GIVEN = {"x": "", "nur_de": ""}


@pytest.mark.parametrize(
    ("asked", "used", "text", "subject"),
    [
        (None, None, "base", "base"),
        ("", None, "base", "base"),
        ("de", "de", "de ", "deutsch"),
        ("de-AT", "de", "de ", "deutsch"),
        ("DE_at", "de", "de ", "deutsch"),
        ("de-AT-1996", "de", "de ", "deutsch"),
        ("de_DE.UTF-8", "de", "de ", "deutsch"),
        ("pt-br", "pt-BR", "br", "base"),
        ("PT_BR", "pt-BR", "br", "base"),
        ("pt", None, "base", "base"),
        ("pt-PT", None, "base", "base"),
        ("zh-hant-TW", "zh-Hant", "zh", "base"),
        ("fr", None, "base", "base"),
        ("den", None, "base", "base"),
        ("../de", None, "base", "base"),
        ("de\0", None, "base", "base"),
        ("-", None, "base", "base"),
    ],
)
def test_a_locale_falls_back_step_by_step(library, asked, used, text, subject):
    mail = library(LOCALES).render("t", GIVEN, locale=asked)
    assert (mail.locale, mail.text, mail.subject) == (used, text, subject)


def test_locales_and_their_variables_are_described(library):
    info = library(LOCALES).describe("t")
    assert info.locales == ("de", "pt-BR", "zh-Hant")
    assert info.variables == ("nur_de", "x")


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"t.de.txt": "de"}, "The template 't.de' is incomplete: t.de.html is missing."),
        ({"t.de.subject.txt": "de"}, "The template 't.de' is incomplete: t.de.txt and t.de.html are missing."),
        (
            {"t.de.txt": "{% if %}", "t.de.html": ""},
            "t.de.txt has a syntax error in line 1: Expected an expression, got 'end of statement block'.",
        ),
    ],
)
def test_a_locale_that_is_not_right_is_told_and_passed_over(library, files, sentence):
    found = library({"t.txt": "base", "t.html": "base", **files})
    assert found.render("t", {}, locale="de").text == "base"
    assert found.describe("t").locales == ()
    assert found.broken() == {"t.de": sentence}


# Folders


@pytest.fixture
def stacked(tmp_path):
    def build(first: dict[str, str], second: dict[str, str]) -> Library:
        return Library([write(tmp_path / "own", first), write(tmp_path / "shipped", second)])

    return build


SHIPPED = {
    "t.txt": "shipped",
    "t.html": "shipped",
    "t.subject.txt": "S",
    "t.de.txt": "D",
    "t.de.html": "D",
    "u.txt": "u",
    "u.html": "u",
}


def test_an_earlier_folder_s_pair_wins_and_borrows_the_subject(stacked):
    found = stacked({"t.txt": "own", "t.html": "own"}, SHIPPED)
    mail = found.render("t", {})
    assert (mail.subject, mail.text, mail.html) == ("S", "own", "own")
    assert found.names() == ["t", "u"]


def test_an_earlier_folder_s_pair_hides_the_later_one_s_locales(stacked):
    found = stacked({"t.txt": "own", "t.html": "own"}, SHIPPED)
    assert found.render("t", {}, locale="de").text == "own"
    assert found.broken() == {}


def test_an_earlier_folder_can_add_a_locale(stacked):
    found = stacked({"t.fr.txt": "F", "t.fr.html": "F"}, SHIPPED)
    assert [found.render("t", {}, locale=locale).text for locale in ("fr", "de", "it")] == ["F", "D", "shipped"]


def test_half_a_pair_is_not_completed_from_another_folder(stacked):
    found = stacked({"t.txt": "own"}, SHIPPED)
    assert found.broken() == {"t": "The template 't' is incomplete: t.html is missing."}
    assert found.names() == ["u"]


def test_layouts_are_found_across_folders(stacked):
    page = '{% extends "_layout.html" %}{% block b %}x{% endblock %}'
    shipped = {"t.txt": "", "t.html": page, "_layout.html": "shipped {% block b %}{% endblock %}"}
    assert stacked({}, shipped).render("t", {}).html == "shipped x"
    assert stacked({"_layout.html": "own {% block b %}{% endblock %}"}, shipped).render("t", {}).html == "own x"


def test_a_reference_may_hold_the_folder_s_name(library):
    files = {
        "t.txt": "",
        "t.html": '{% extends "mail/base.html" %}{% block b %}x{% endblock %}',
        "base.html": "[{% block b %}{% endblock %}]",
    }
    assert library(files).render("t", {}).html == "[x]"


# What is wrong with a template


@pytest.mark.parametrize(
    ("html", "sentence"),
    [
        ("a\n{% for %}", "t.html has a syntax error in line 2: Expected an expression, got 'end of statement block'."),
        ("\n\n{{ x", "t.html has a syntax error in line 3"),
        ("{{ x|nosuch }}", "t.html has a syntax error in line 1: No filter named 'nosuch'."),
        ('{% extends "_none.html" %}', "t.html needs _none.html, which is not there."),
        ('{% include ["_a.html", "_b.html"] %}', "t.html needs _a.html, which is not there."),
        ('{% include "/etc/passwd" %}', "t.html needs /etc/passwd, which is not there."),
        ('{% include "../t.txt" %}', "t.html needs ../t.txt, which is not there."),
        ('{% extends "_bad.html" %}', "_bad.html has a syntax error in line 2"),
        ('{% extends "_loop.html" %}', "t.html extends itself by way of _loop.html."),
        ('{% extends "t.html" %}', "t.html extends itself by way of t.html."),
    ],
)
def test_a_broken_template_says_where_and_harms_no_other(library, tmp_path, html, sentence):
    others = {"_bad.html": "\n{% endif %}", "_loop.html": '{% extends "_loop.html" %}', "u.txt": "", "u.html": ""}
    found = library({"t.txt": "", "t.html": html, **others})
    assert found.broken()["t"].startswith(sentence)
    assert str(tmp_path) not in found.broken()["t"]
    with pytest.raises(BadTemplate) as caught:
        found.render("t", {})
    assert caught.value.errors == (FieldError("/template", found.broken()["t"], "broken_template"),)
    assert found.names() == ["u"]


def test_a_file_in_another_encoding_is_refused(tmp_path):
    folder = write(tmp_path, {"t.html": ""})
    (folder / "t.txt").write_bytes("für".encode("latin-1"))
    assert Library([folder]).broken() == {"t": "t.txt is not in UTF-8."}


def test_a_byte_order_mark_and_dos_line_ends_do_not_reach_the_mail(tmp_path):
    folder = write(tmp_path, {"t.html": ""})
    (folder / "t.txt").write_bytes(b"\xef\xbb\xbfa\r\nb\r\n")
    assert Library([folder]).render("t", {}).text == "a\nb"


def test_an_optional_include_need_not_be_there(rendered):
    assert rendered('a{% include "_none.txt" ignore missing %}{% include ["_x.txt", "t.html"] %}', "b").text == "ab"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("\n\n{{ 1 / 0 }}", "in t.txt, line 3, it divides by zero."),
        ("{{ 'a' + 1 }}", "in t.txt, line 1, an expression does not fit the data."),
        ("{{ x() }}", "in t.txt, line 1, an expression does not fit the data."),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "it goes round in circles."),
        ("{% include x %}", "it needs secret, which is not there."),
        ("{{ [].pop() }}", "line 1"),
        ("{% for i in [1] %}\n{{ loop.nosuch }}{% endfor %}", "line 2"),
        ("{{ 'abc'.nosuch }}", "'str object' has no attribute 'nosuch'."),
        ("{% include 't.txt' %}", "it goes round in circles."),
    ],
)
def test_whatever_fails_while_rendering_is_a_bad_template_without_paths(refused, text, reason):
    error = refused(text, data={"x": "secret"})
    assert reason in error.detail
    assert "/" not in error.detail
    assert error.errors[0].pointer == "/template"


def test_an_error_below_a_style_sheet_names_its_own_line(library):
    html = "<style>\np { color: red }\n\na:hover { color: blue }\n</style>\n<p>x</p>\n{{ 1 / 0 }}"
    with pytest.raises(BadTemplate, match=r"in t\.html, line 7, it divides"):
        library({"t.txt": "", "t.html": html}).render("t", {})


# Versions, reloading, threads


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
