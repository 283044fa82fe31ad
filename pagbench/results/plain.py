"""JSON that a stranger may have written: each key once, finite numbers, short texts without hidden marks. No torch."""

import json
import math
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, StringConstraints, ValidationError

from pagbench.cards import LONGEST_TEXT
from pagbench.errors import hidden, printable

LONGEST_COMMAND = 10_000
LONGEST_PICTURES = 2**18
"""Characters of one string of pictures."""
_LONGEST = {"command": LONGEST_COMMAND, **dict.fromkeys(("images", "gradients", "targets"), LONGEST_PICTURES)}
"""By the name of the field; all others are texts."""
_DEEPEST = 12
_LARGEST = 2**63
_EARLIEST, _RELEASED = datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
"""A clock that is behind the latter is not believed."""
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII)

Line = Annotated[str, StringConstraints(max_length=LONGEST_TEXT)]
"""A text of a document that `parse` has read."""
Digest = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$")]
"""A sha256; empty where there is none."""


def _moment(text: str) -> str:
    if text and _time(text) is None:
        raise ValueError("expected a time as 2026-11-23T12:00:00Z")
    return text


def _time(text: str) -> datetime | None:
    """None where it is no time."""
    try:
        return datetime.fromisoformat(text) if _MOMENT.fullmatch(text) else None
    except ValueError:
        return None


Moment = Annotated[str, AfterValidator(_moment)]
"""A time, as 2026-11-23T12:00:00Z; empty where nobody has said. No clock decides what is read: it may be any."""


def is_plausible(text: str) -> bool:
    """Whether a text is a time that has come, by this machine's clock and a day, and none of before pagbench.

    >>> [is_plausible(text) for text in ("2026-11-23T12:00:00Z", "2999-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "")]
    [True, False, False, False]
    """
    time, latest = _time(text), max(datetime.now(UTC), _RELEASED) + timedelta(days=1)
    return time is not None and _EARLIEST <= time <= latest


class PlainJsonError(ValueError):
    """What is not plain, in a few words with the name of the field."""


def parse(content: bytes) -> Any:
    """The value of a JSON document.

    Raises:
        PlainJsonError: it is no JSON in UTF-8, names a key twice, or holds a number or a text that no honest one does.
    """
    try:
        value = json.loads(
            content.decode(),
            object_pairs_hook=_each_once,
            parse_constant=_refused,
            parse_float=_finite,
            parse_int=_whole,
        )
    except PlainJsonError:
        raise
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else printable(str(error))[:200]
        raise PlainJsonError(f"no plain JSON: {reason}") from None
    _check(value, "", "", 0)
    return value


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise PlainJsonError(f"the key {printable(twice)[:60]!r} for the second time")
    return found


def _refused(name: str) -> None:
    raise PlainJsonError(f"{name}, expected a finite number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise PlainJsonError(f"the number {text[:60]}, expected a finite one")
    return value


def _whole(text: str) -> int:
    if len(text) > 20 or not -_LARGEST <= int(text) < _LARGEST:
        raise PlainJsonError(f"the number {text[:30]}…, expected one of 64 bits")
    return int(text)


def _check(value: Any, field: str, name: str, depth: int) -> None:
    """Looks at every text.

    Args:
        value: within the document.
        field: where it is, for the message.
        name: the last key on the way there.
        depth: levels above it.
    """
    if isinstance(value, str):
        _check_text(value, field, _LONGEST.get(name, LONGEST_TEXT))
    elif depth > _DEEPEST and isinstance(value, dict | list):
        raise PlainJsonError(f"field {field[:60]!r} is nested too deep")
    elif isinstance(value, dict):
        for key, inner in value.items():
            _check_text(key, f"{field} (a key)", LONGEST_TEXT)
            _check(inner, f"{field}.{key}" if field else key, key, depth + 1)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            if not isinstance(inner, float):  # most of what there is
                _check(inner, f"{field}.{index}", name, depth + 1)


def _check_text(text: str, field: str, longest: int) -> None:
    if len(text) > longest:
        raise PlainJsonError(f"field {field[:200]!r}: {len(text)} characters, expected at most {longest}")
    if (mark := hidden(text)) is not None:
        raise PlainJsonError(f"field {field[:200]!r} holds the invisible character {mark!a}")


def as_lines(value: Any) -> Any:
    """A document whose texts `parse` takes: what others have named or said is made lines, and is cut off where endless.

    >>> as_lines({"a": ["b" + chr(10) + "c", 1]})
    {'a': ['b c', 1]}
    """
    if isinstance(value, str):
        return as_line(value)
    if isinstance(value, dict):
        return {
            as_line(key): as_line(inner, LONGEST_COMMAND) if key == "command" else as_lines(inner)
            for key, inner in value.items()
        }
    return [as_lines(inner) for inner in value] if isinstance(value, list | tuple) else value


def as_line(text: str, longest: int = LONGEST_TEXT) -> str:
    """The same of a text; one that is a line already stays as it is."""
    if len(text) <= longest and hidden(text) is None:
        return text
    line = printable(text)
    return line if len(line) <= longest else f"{line[: longest - 4]} ..."


def flaw(error: ValidationError) -> str:
    """What is wrong with the first wrong field of a document, in a line."""
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"field {place!r} is missing"
    reason = first["msg"].removeprefix("Value error, ")
    return printable(f"field {place!r}: {reason}, got {str(first['input'])[:60]!r}")
