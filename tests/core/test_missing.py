import pytest

from api.core.errors import BadTemplate, MissingVariables
from api.core.rendering import Library, Rendered
from tests.core.folder import write


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


def test_a_slash_or_a_tilde_in_a_missing_name_is_escaped_in_its_pointer(rendered):
    with pytest.raises(MissingVariables) as caught:
        rendered("{{ prices['net/gross'] }} {{ prices['~'] }}", data={"prices": {}})
    assert [error.pointer for error in caught.value.errors] == ["/data/prices/net~1gross", "/data/prices/~0"]


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
        ("{{ b.name.x }}", {"a": {"name": None}, "b": {"name": None}}, ["b.name.x"]),
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
