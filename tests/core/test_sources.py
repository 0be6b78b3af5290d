import pytest

from api.core.rendering import Library
from tests.core.folder import write


@pytest.fixture
def library(tmp_path):
    return lambda files: Library([write(tmp_path, files)])


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
