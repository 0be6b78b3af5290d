import pytest

from api.core.errors import BadTemplate
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
def refused(rendered):
    def error(*args, **kwargs) -> BadTemplate:
        with pytest.raises(BadTemplate) as caught:
            rendered(*args, **kwargs)
        return caught.value

    return error


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
