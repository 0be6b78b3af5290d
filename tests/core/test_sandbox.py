import tracemalloc
from pathlib import Path

import pytest

from api.core.errors import BadTemplate, MissingVariables
from api.core.rendering import Library

#: Bytes that a rendering may need at its worst: a few values of a megabyte, not a gigabyte.
MEMORY = 48 * 1024 * 1024


@pytest.fixture
def render(tmp_path):
    def render(text: str, data: dict | None = None, part: str = "txt", **files: str) -> str:
        sources = {"t.txt": "", "t.html": "", f"t.{part}": text, **{f"_{name}.txt": one for name, one in files.items()}}
        for name, source in sources.items():
            (Path(tmp_path) / name).write_text(source, encoding="utf-8")
        mail = Library([tmp_path]).render("t", data or {})
        return mail.html if part == "html" else mail.text

    return render


@pytest.fixture
def refused(render):
    def error(*args, **kwargs) -> BadTemplate:
        with pytest.raises(BadTemplate) as caught:
            render(*args, **kwargs)
        return caught.value

    return error


BOMBS = [
    "{{ '%999999999d'|format(1) }}",
    "{{ '%0999999999d' % 1 }}",
    "{{ '%-999999999s' % 'a' }}",
    "{{ '%.999999999f' % 1 }}",
    "{{ '%(a)999999999d' % {'a': 1} }}",
    "{{ '%((a))999999999d' % {'(a)': 1} }}",
    "{{ '%%%999999999d' % 1 }}",
    "{{ '%*d' % (n, 1) }}",
    "{{ '%.*f' % (n, 1) }}",
    "{{ '%*d'|format(n, 1) }}",
    "{{ '{:999999999d}'.format(1) }}",
    "{{ '{:{w}d}'.format(1, w=n) }}",
    "{{ '{0:.999999999f}'.format(1) }}",
    "{{ ('{0}' * 3000).format('a' * 1000000) }}",
    "{{ ('%(a)s' * 3000) % {'a': 'a' * 1000000} }}",
    "{{ 'a' * 10**9 }}",
    "{{ 'a' * 999999999 }}",
    "{{ 999999999 * 'a' }}",
    "{{ 'a' * n }}",
    "{{ [0] * n }}",
    "{{ n * (0,) }}",
    "{{ 10**(10**9) }}",
    "{{ n**n }}",
    "{{ 2**n }}",
    "{{ (n**n)**n }}",
    "{{ range(n)|list }}",
    "{% for i in range(n) %}{% endfor %}",
    "{{ 'a'|center(10**9) }}",
    "{{ 'a'|center(n) }}",
    "{{ 'a'|indent(n, true) }}",
    "{{ 'a'|indent(10**9, true) }}",
    "{{ ('a\n' * 1000)|indent('a' * 10000) }}",
    "{{ ('a\v' * 1000)|indent('a' * 10000) }}",
    "{{ 'a'.ljust(n) }}",
    "{{ 'a'.rjust(n) }}",
    "{{ 'a'.center(n) }}",
    "{{ '1'.zfill(n) }}",
    "{{ 'a\t'.expandtabs(n) }}",
    "{{ ('a' * 10000)|replace('a', 'b' * 100000) }}",
    "{{ ('a' * 10000).replace('a', 'b' * 100000) }}",
    "{{ ('a' * 10000)|replace('', 'b' * 100000) }}",
    "{{ ('a' * 100000).join(range(10000)|map('string')) }}",
    "{{ range(10000)|join('a' * 100000) }}",
    "{{ [1]|batch(50000000, 'a')|list }}",
    "{{ [1]|slice(n)|list }}",
    "{{ 1.5|round(n, 'ceil') }}",
    "{{ {'a': 1}|tojson(indent=n) }}",
    "{{ (1).to_bytes(n, 'big') }}",
    "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = '%s%s' % (ns.x, ns.x) %}{% endfor %}",
    "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x %}{{ n.x }}{{ n.x }}{% endset %}{% endfor %}",
    "{% set ns = namespace(x=9) %}{% for i in range(60) %}{% set ns.x = ns.x * ns.x %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "{% macro m(x) %}{{ x }}{{ x }}{% endmacro %}{{ " + "m(" * 12 + "'ab' * 1000" + ")" * 12 + " }}",
    "{{ ('a' * 1000000)|wordwrap(1) }}",
    "{{ ('<a>' * 300000)|striptags }}",
    "{% for i in range(100000) %}aaaaaaaaaaaaaaaaaaaaaaaa{% endfor %}",
    "{% set a = 'a' * 1000000 %}{{ a }}{{ a }}",
]


@pytest.mark.parametrize("part", ["txt", "html"])
@pytest.mark.parametrize("text", BOMBS)
def test_a_bomb_is_defused_before_it_takes_memory(refused, text, part):
    tracemalloc.start()
    try:
        error = refused(text, {"n": 999_999_999}, part=part)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MEMORY
    assert [one.pointer for one in error.errors] == ["/template"]


@pytest.mark.parametrize(
    "text",
    [
        "{% set r = range(100000)|list %}{% for i in r %}{% for j in r %}{% endfor %}{% endfor %}",
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
        "{% for i in range(100000) %}{{ range(100000)|map('abs')|max and '' }}{% endfor %}",
    ],
)
def test_a_template_that_would_not_end_is_stopped(refused, text):
    error = refused(text)
    assert (error.errors[0].code, "it takes too long" in error.detail) == ("template_limit", True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ '%05.2f|%-5s|' % (1.5, 'a') }}", "01.50|a    |"),
        ("{{ '100%% of %(the order 2026)s' % {'the order 2026': 7} }}", "100% of 7"),
        ("{{ '%s'|format('12345678') }} {{ '{:>8}'.format('12345') }} {{ '%d 2026' % 5 }}", "12345678    12345 5 2026"),
        ("{{ 'ab' * 3 }}{{ [1] * 2 }}{{ 2 ** 10 }}{{ 2 ** -1 }}{{ 7 % 4 }}{{ 1.5 * 2 }}", "ababab[1, 1]10240.533.0"),
        ("{{ 'a'|center(5) }}|{{ 'a\nb'|indent(2) }}|{{ 'a'.ljust(3) }}|{{ '7'.zfill(3) }}", "  a  |a\n  b|a  |007"),
        (
            "{{ 'aXb'|replace('X', '--') }} {{ 'aXb'.replace('X', '-', 1) }} {{ ', '.join(['a', 'b']) }}",
            "a--b a-b a, b",
        ),
        ("{{ [1, 2]|join(', ') }} {{ [{'a': 1}]|join('', attribute='a') }} {{ 1 ~ 'a' ~ none }}", "1, 2 1 1aNone"),
        (
            "{{ [1, 2, 3]|batch(2, 0)|list }} {{ [1, 2, 3]|slice(2)|list }} {{ 2.567|round(2) }}",
            "[[1, 2], [3, 0]] [[1, 2], [3]] 2.57",
        ),
        ("{{ {'b': 1, 'a': [none]}|tojson }} {{ range(3)|map('string')|join }}", '{"a": [null], "b": 1} 012'),
        (
            "{% for i in 'abc' %}{{ loop.index }}/{{ loop.length }}{{ loop.cycle('x', 'y') }} {% endfor %}",
            "1/3x 2/3y 3/3x ",
        ),
        ("{% for i in [[1, [2]]] recursive %}{{ i if i is number else loop(i) }}{% endfor %}", "12"),
        ("{% for i in [] %}{% else %}none{% endfor %}{% for a in [1] if a %}{{ a }}{% endfor %}", "none1"),
        (
            "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.current }}{% set j = joiner() %}{{ j() }}{{ j() }}",
            "ab, ",
        ),
        ("{% import '_m.txt' as m %}{% from '_m.txt' import hi %}{{ m.hi('a') }}{{ hi('b') }}{{ m.name }}", "<a><b>n"),
        ("{% for g in [{'k': 1}, {'k': 2}]|groupby('k') %}{{ g.grouper }}{{ g.list|length }}{% endfor %}", "1121"),
        (
            "{% macro m(a) %}{{ caller(a) }}{% endmacro %}{% call(x) m('z') %}[{{ x }}]{% endcall %}",
            "[z]",
        ),
        (
            "{{ (1.0).is_integer() }}{{ [3, 3].count(3) }}{{ {'a': 1}.get('b', 2) }}{{ {'a': 1}.keys()|list }}",
            "True22['a']",
        ),
    ],
)
def test_what_authors_use_every_day_still_works(render, text, said):
    assert render(text, m="{% macro hi(x) %}<{{ x }}>{% endmacro %}{% set name = 'n' %}") == said


def test_html_stays_escaped_through_every_bounded_operation(render):
    text = """{{ x ~ x }}{{ x + x }}{{ x * 2 }}{{ '%s'|format(x) }}{{ '{}'.format(x) }}{{ [x, x]|join(x) }}
{{ x.join([x]) }}{{ x|replace('b', x) }}{{ x.replace('b', x) }}{{ x|center(9) }}{{ x|indent }}{{ x|title }}
{% set y %}{{ x }}{% endset %}{{ y ~ x }}{{ y + x }}{{ y.format(x) }}{{ (y ~ '%s') % x }}{{ y.upper() }}
{{ ('<i>'|safe ~ x)|replace('i', x) }}{{ ('%s'|safe).join([x, x]) }}{{ ('{}'|safe).format(x) }}
{{ ('%s'|safe) % x }}{{ ('%s'|safe)|format(x) }}{{ {'a': x}|tojson }}{{ x|urlize }}{{ {'a': x}|xmlattr }}"""
    html = render(text, {"x": "<b>"}, part="html")
    assert "<b" not in html.lower()
    assert "&lt;b&gt;" in html


ESCAPES = [
    "{{ ''.__class__ }}",
    "{{ x.__class__.__mro__[1].__subclasses__() }}",
    "{{ ().__class__.__base__ }}",
    "{{ x['__class__'] }}",
    "{{ x|attr('__class__') }}",
    "{{ [x]|map(attribute='__class__')|list }}",
    "{{ [x]|groupby('__class__')|list }}",
    "{{ [x]|sort(attribute='__class__') ~ [x]|map(attribute='__class__')|join }}",
    "{{ '{0.__class__}'.format(x) }}",
    "{{ '{0[__class__]}'.format(x) }}",
    "{{ '{a.__class__}'.format_map({'a': x}) }}",
    "{{ ('{0.__class__}'|safe).format(x) }}",
    "{{ x.copy.__self__ }}",
    "{{ range.__globals__ }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ joiner.__init__ }}",
    "{{ namespace.__init__ }}",
    "{{ dict.mro() }}",
    "{{ dict.__subclasses__() }}",
    "{{ self.__init__ }}",
    "{{ self._TemplateReference__context }}",
    "{% for i in [1] %}{{ loop._iterable }}{% endfor %}",
    "{% for i in [1] %}{{ loop.__init__.__globals__ }}{% endfor %}",
    "{% macro m() %}{% endmacro %}{{ m._func }}",
    "{% macro m() %}{% endmacro %}{{ m.__init__ }}",
    "{{ (x.items()|list).__class__ }}",
    "{{ ([1]|map('string')).gi_frame }}",
    "{{ x.update({'a': 1}) }}",
    "{{ x.clear() }}",
    "{{ x.pop('a') }}",
    "{{ x.setdefault('b', 1) }}",
    "{{ [1].append(2) }}",
    "{{ [2, 1].sort() }}",
    "{{ 'a'.encode() }}",
    "{{ 'a'.translate({}) }}",
    "{{ (1).__class__ }}",
    "{{ (1).real }}",
    "{{ none.__class__ }}",
    "{{ true.__class__ }}",
    "{{ nosuch.__class__ }}",
    "{{ nosuch.nosuch.__init__.__globals__ }}",
    "{{ nosuch._undefined_exception }}",
    "{{ context.environment }}",
    "{{ lipsum() }}",
    "{{ [1, 2]|random }}",
    "{{ ''|map('__class__')|list }}{{ 1|nosuch }}",
    "{% include '/etc/hostname' %}",
    "{% include '../t.txt' %}",
    "{% include p %}",
    "{% import p as q %}",
    "{% extends p %}",
    "{{ environment.loader }}",
]


@pytest.mark.parametrize("text", ESCAPES)
def test_no_way_leads_out_of_the_sandbox(render, text):
    data: dict = {"x": {"a": "secret"}, "p": "/etc/hostname"}
    with pytest.raises((BadTemplate, MissingVariables)) as caught:
        render(text, data)
    assert "object at 0x" not in caught.value.detail
    assert data == {"x": {"a": "secret"}, "p": "/etc/hostname"}


def test_a_data_key_that_looks_internal_is_only_data(render):
    assert render("{{ x.__class__ }}{{ x['_id'] }}", {"x": {"__class__": "a", "_id": 1}}) == "a1"
