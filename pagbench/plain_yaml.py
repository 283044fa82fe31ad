"""YAML as cards need it, and no more: one small document, without tags, anchors, merges or repeated keys."""

from typing import Any

import yaml

from pagbench.errors import first_line

LARGEST = 256 * 1024
"""Bytes; the longest published definition of a benchmark takes a seventh of it."""
_DEEPEST = 8
"""Levels of nesting; a benchmark's definition has four."""
_LONGEST_NUMBER = 64
"""Characters; YAML has numbers to the base of 16 and 60, which grow faster than Python prints them."""
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


class PlainError(Exception):
    """What is not plain, in a few words with its line."""


class _PlainLoader(yaml.SafeLoader):
    """Refuses, before it is built, whatever can grow, repeat itself, or name a Python type."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise _at(event, "an anchor or alias (& or *)")
        if event.tag is not None:
            raise _at(event, f"the tag {event.tag[:60]!r}")
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _at(event, f"more than {_DEEPEST} levels of nesting")
        node = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(node, yaml.ScalarNode) and node.tag in _NUMBERS and len(node.value) > _LONGEST_NUMBER:
            raise _at(node, f"a number of {len(node.value)} characters")
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                raise _at(key, "a key that is no name")
            if key.value in seen:
                raise _at(key, f"the key {key.value[:60]!r} for the second time")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _at(place: Any, reason: str) -> PlainError:
    return PlainError(f"{reason} in line {place.start_mark.line + 1}")


def read(content: bytes) -> Any:
    """The value of a document.

    Raises:
        PlainError: it is too large or too deep, uses tags, anchors or merges, repeats a key, or is no YAML.
    """
    if len(content) > LARGEST:
        raise PlainError(f"more than {LARGEST} bytes")
    try:
        return yaml.load(content.decode("utf-8"), _PlainLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or first_line(error)
        raise PlainError(f"{reason}{where}") from None
    except ValueError as error:  # not UTF-8, a date that is none
        raise PlainError(f"a value that cannot be read: {error}") from None
