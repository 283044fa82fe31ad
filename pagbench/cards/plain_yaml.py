"""Plain YAML, as cards need it: small, without tags, anchors or repeated keys."""

import errno
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from yaml.composer import Composer

from pagbench.errors import CardError, first_line

LARGEST_YAML = 256 * 1024
"""Bytes; the longest published definition of a benchmark takes a seventh of it."""
_DEEPEST = 8
"""Levels of nesting; a benchmark's definition has four."""
_LONGEST_NUMBER = 64
"""Characters; YAML has numbers to the base of 16 and 60, which grow faster than Python prints them."""
_SURROGATES = re.compile("[\ud800-\udfff]")
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


class PlainYamlError(Exception):
    """What is not plain, in a few words with its line."""


if TYPE_CHECKING or not yaml.__with_libyaml__:
    _Loader = yaml.SafeLoader
else:

    class _Loader(Composer, yaml.CSafeLoader):
        """Parsed in C, six times faster, and composed in Python, where each node can be refused."""

        def __init__(self, stream: str) -> None:
            yaml.CSafeLoader.__init__(self, stream)
            Composer.__init__(self)


class _PlainLoader(_Loader):
    """Refuses, before it is built, whatever can grow, repeat itself, or name a Python type; a date is text."""

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
        if isinstance(node, yaml.ScalarNode) and _SURROGATES.search(node.value):
            raise _at(node, "half a character, as \\ud83d without the other half")
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


_PlainLoader.add_constructor("tag:yaml.org,2002:timestamp", yaml.SafeLoader.construct_yaml_str)  # type: ignore[type-var]


def _at(place: Any, reason: str) -> PlainYamlError:
    return PlainYamlError(f"{reason} in line {place.start_mark.line + 1}")


def parse_yaml(content: bytes) -> Any:
    """The value of a YAML document as cards need it: small, without tags, anchors, merges or repeated keys.

    Raises:
        PlainYamlError: it is too large or too deep, uses tags, anchors or merges, repeats a key, or is no YAML.
    """
    if len(content) > LARGEST_YAML:
        raise PlainYamlError(f"more than {LARGEST_YAML} bytes")
    try:
        return yaml.load(content.decode("utf-8"), _PlainLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or first_line(error)
        raise PlainYamlError(f"{reason}{where}") from None
    except (ValueError, OverflowError) as error:  # not UTF-8, no date, no character
        raise PlainYamlError(f"a value that cannot be read: {error}") from None


def _open_at_once(path: str, flags: int) -> int:
    """Opens a file; a pipe, too, without waiting for its other end. What `storage.files` has lies above this module."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads one plain YAML mapping (`parse_yaml`): no tags, no anchors, no repeated keys.

    Raises:
        CardError: the file is missing, is not plain YAML, or is not a mapping.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError(errno.EINVAL, "a pipe, device or socket, expected a file")
            content = parse_yaml(file.read(LARGEST_YAML + 1))
    except OSError as error:
        raise CardError(
            f"{path}: cannot read the card ({error.strerror or error}); give a card id or a YAML file"
        ) from None
    except PlainYamlError as error:
        raise CardError(f"{path}: not a YAML card ({error}); see `pagbench show MODEL` for one") from None
    if not isinstance(content, dict):
        raise CardError(f"{path}: expected a YAML mapping of fields, got {type(content).__name__}")
    return content
