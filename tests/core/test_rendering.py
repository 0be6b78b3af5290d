import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.core.errors import BadTemplate, FieldError, UnknownTemplate
from api.core.rendering import Library, Rendered, TemplateInfo
from tests.core.folder import write

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=200)


@pytest.fixture
def library(tmp_path):
    return lambda files: Library([write(tmp_path, files)])


@pytest.fixture
def rendered(library):
    def render(text: str = "", html: str = "", data: dict | None = None, subject: str | None = None) -> Rendered:
        subjects = {} if subject is None else {"t.subject.txt": subject}
        return library({"t.txt": text, "t.html": html, **subjects}).render("t", data or {})

    return render


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
    for file in (tmp_path).iterdir():
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
