"""Cards are plain YAML: nothing in them grows, repeats itself, or names a type."""

import importlib.util
import sys

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pagbench import cards
from pagbench.cards import plain_yaml
from pagbench.cards.plain_yaml import PlainYamlError

BILLION_LAUGHS = "a: &a [lol, lol]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(VALUES)
def test_plain_values_are_read_as_the_safe_loader_reads_them(value):
    text = yaml.safe_dump(value, allow_unicode=True)
    try:
        found = plain_yaml.parse_yaml(text.encode())
    except PlainYamlError as error:
        assert "levels of nesting" in str(error) or "anchor" in str(error) or "no name" in str(error)
        return
    assert found == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BILLION_LAUGHS, "an anchor or alias (& or *) in line 1"),
        ("id: !!python/object/apply:os.system [touch canary]", "the tag 'tag:yaml.org,2002:python/object/apply:os.sys"),
        ("id: a\nid: b", "the key 'id' for the second time in line 2"),
        ("training: {epochs: 1, epochs: 2}", "the key 'epochs' for the second time in line 1"),
        ("[" * 5000, "nesting"),
        ("a: " * 9 + "1", "mapping values are not allowed"),
        ("<<: {id: a}", "a key that is no name"),
        ("? [a, b]\n: 1", "a key that is no name"),
        ("strength: " + "9" * 5000, "a number of 5000 characters in line 1"),
        ("strength: " + "1:" * 400 + "0.5", "a number of 803 characters in line 1"),
        ("a: 1\ntitle: 0x" + "f" * 5000, "a number of 5002 characters in line 2"),
        ("a: 1\n---\nb: 2", "but found another document"),
        ("a: \x07", "characters are not allowed"),
        ("a" * 300_000, "more than 262144 bytes"),
    ],
)
def test_what_is_not_plain_is_refused_at_once(text, reason):
    calls = []
    sys.setprofile(lambda frame, event, argument: calls.append(event))
    try:
        with pytest.raises(PlainYamlError) as refused:
            plain_yaml.parse_yaml(text.encode())
    finally:
        sys.setprofile(None)
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(calls) < 200_000, "as much work as a plain card of some hundred lines makes"


@pytest.mark.parametrize("day", ["2024-02-29", "2024-13-45", "2024-02-29 10:00:00", "2024-02-29T10:00:00Z"])
def test_a_date_is_text(day):
    assert plain_yaml.parse_yaml(f"date: {day}".encode()) == {"date": day}


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(PlainYamlError, match="a value that cannot be read"):
        plain_yaml.parse_yaml(b"id: \xff\xfe")


@pytest.fixture(params=["C", "Python"])
def parse(request, monkeypatch):
    """Reading by PyYAML's parser in C, and by that in Python, which is there where it was built without the other."""
    if request.param == "C":
        return plain_yaml.parse_yaml, PlainYamlError
    monkeypatch.setattr(yaml, "__with_libyaml__", False)
    spec = importlib.util.spec_from_file_location("yaml_by_python", plain_yaml.__file__)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    assert not issubclass(module._PlainLoader, yaml.CSafeLoader)
    return module.parse_yaml, module.PlainYamlError


@pytest.mark.parametrize(
    "text",
    [
        r'a: "\UFFFFFFFF"', r'a: "\U00110000"', r'a: "\U80000000"', r'a: "\uD800"', r'a: "\uDC00\uD800"',
        r'a: "\ud83d\ude00"', r'"\ud800": 1', r'a: ["\udfff"]', r'a: "\xZZ"', r'a: "\q"', "a: 0b_", "a: -0x_",
        "%YAML 9.9\n---\na: 1", "---\na: 1\n---\nb: 2", "%TAG ! x\n%TAG ! y\n---\na: 1", "%", "...", "=", "a: =",
        "[" * 100_000, "{" * 100_000, "- " * 100_000, "? " * 100_000, "a: |99\n b", "a: >" + "-" * 100, "'" * 99_999,
        '"' + "a" * 200_000, "a" * 2000 + ": 1", "a: !!binary YQ==", "!<", "&a", "@", "`", "a: \x00", "\ud800",
        "a: <<", "a: 0x___", "a:\n\tb: 1", " a: 1\nb: 2", "a: [1", "a: }", "? [a]\n: 1", "{a: 1}: 2", "a: 1\n a: 2",
    ],
)  # fmt: skip
def test_whatever_the_parser_raises_is_one_line(parse, text):
    read, error = parse
    with pytest.raises(error) as refused:
        read(text.encode("utf-8", errors="surrogatepass"))
    assert len(str(refused.value).splitlines()) == 1 and len(str(refused.value)) < 300


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-le", "latin-1"])
def test_text_that_is_not_utf_8_is_one_line(parse, encoding):
    read, error = parse
    with pytest.raises(error):
        read("title: naïve \U0001f600".encode(encoding, errors="replace"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: .inf", float("inf")), ("a: 1:30", 90), ("a: 0x1F", 31), ("a: 0o17", "0o17"), ("\ufeffa: 1", 1),
        (r'a: "\U0001F600"', "\U0001f600"), (r'a: "\x41\0"', "A\0"), ("a: 2026-99-99", "2026-99-99"), ("a: ~", None),
        ("a: 1_000", 1000), ("a: 2026-01-01T99:99:99Z", "2026-01-01T99:99:99Z"),
    ],
)  # fmt: skip
def test_what_looks_odd_and_is_plain_is_read(parse, text, value):
    assert parse[0](text.encode())["a"] == value


def test_a_card_of_wrong_fields_without_end_is_told_in_few_lines(tmp_path):
    """Each is compared with all known names; sixty thousand took minutes."""
    path = tmp_path / "card.yaml"
    path.write_text("".join(f"f{number}: 1\n" for number in range(25_000)))
    with pytest.raises(cards.CardError) as refused:
        cards.ModelCard.read(path)
    lines = str(refused.value).splitlines()
    assert 20 < len(lines) < 30 and lines[-1].endswith("more like these")
    path.write_text("k" * 1000 + ": 1\nid: " + "/" * 200_000)
    with pytest.raises(cards.CardError) as refused:
        cards.ModelCard.read(path)
    assert max(map(len, str(refused.value).splitlines())) < 2000 and len(str(refused.value).splitlines()) < 30
