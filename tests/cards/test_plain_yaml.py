"""Cards are plain YAML: nothing in them grows, repeats itself, or names a type."""

import sys

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pagbench import cards
from pagbench.cards import PlainYamlError

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
        found = cards.parse_yaml(text.encode())
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
            cards.parse_yaml(text.encode())
    finally:
        sys.setprofile(None)
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(calls) < 200_000, "as much work as a plain card of some hundred lines makes"


@pytest.mark.parametrize("day", ["2024-02-29", "2024-13-45", "2024-02-29 10:00:00", "2024-02-29T10:00:00Z"])
def test_a_date_is_text(day):
    assert cards.parse_yaml(f"date: {day}".encode()) == {"date": day}


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(PlainYamlError, match="a value that cannot be read"):
        cards.parse_yaml(b"id: \xff\xfe")
