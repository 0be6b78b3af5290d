from pathlib import Path

import pytest

from api.core.rendering import Library


@pytest.fixture
def variables(tmp_path):
    def found(text: str = "", html: str = "", subject: str = "", **others: str) -> list[str]:
        files = {"t.txt": text, "t.html": html, "t.subject.txt": subject}
        for name, source in (files | {f"_{name}.html": one for name, one in others.items()}).items():
            (Path(tmp_path) / name).write_text(source, encoding="utf-8")
        return list(Library([tmp_path]).describe("t").variables)

    return found


def test_the_variables_of_all_three_parts_are_found_and_sorted(variables):
    assert variables("{{ b.x }}{{ b.x }}", "{{ a }}{% if c.y['z'] %}{% endif %}", "{{ d|upper }}") == [
        "a",
        "b",
        "b.x",
        "c",
        "c.y",
        "c.y.z",
        "d",
    ]


@pytest.mark.parametrize(
    ("html", "names"),
    [
        ("{% for x in order.items %}{{ x.name }}{{ loop.index }}{% endfor %}", ["order", "order.items"]),
        ("{% set x = a %}{{ x.y }}{% block b %}{{ x }}{% endblock %}", ["a"]),
        ("{% macro m(x) %}{{ x }}{{ caller() }}{{ varargs }}{% endmacro %}{{ m(a) }}", ["a"]),
        ("{{ a.upper() }}{{ a.b.upper() }}{{ range(3) }}{{ self.x() }}", ["a", "a.b"]),
        ("{% with x = a %}{{ x }}{{ b }}{% endwith %}", ["a", "b"]),
        ('{% import "_x.html" as x %}{% from "_x.html" import y as z %}{{ x.m() }}{{ z() }}', ["q"]),
        ('{% include "_y.html" %}', ["x", "y", "y.z"]),
        ('{% for x in a %}{% include "_y.html" %}{% endfor %}', ["a", "y", "y.z"]),
        ('{% extends "_l.html" %}{% set title = a %}{% block b %}{{ c }}{% endblock %}', ["a", "c", "d"]),
        ('{% extends "_l.html" %}', ["d", "title"]),
    ],
)
def test_only_what_the_data_must_hold_is_a_variable(variables, html, names):
    others = {
        "x": "{% macro m() %}{{ q }}{% endmacro %}{% macro y() %}{% endmacro %}",
        "y": "{{ x }}{{ y.z }}{{ loop.index }}",
        "l": "{{ title }}{% block b %}{% endblock %}{{ d }}",
    }
    assert variables(html=html, **others) == names
