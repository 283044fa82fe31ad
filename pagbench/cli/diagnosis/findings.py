"""What an examination finds, and how it is told in a terminal."""

import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pagbench.errors import printable

State = Literal["ok", "note", "missing", "broken"]
_STATE = 9
"""Columns of the state and what separates it from the name."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        state: `ok`; `note`, worth knowing; `missing`, needed and not here; `broken`, here and of no use.
        name: of the thing.
        told: sentences about it; each begins a line.
        commands: that mend it, or fetch what is missing.
    """

    state: State
    name: str
    told: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """Findings of one kind under a title."""

    title: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Report:
    """Everything that was found.

    Attributes:
        about: program, Python and system, in one line.
        versions: of the packages that are installed and used.
        sections: in the order in which they are told.
        benchmarks: the last section: `ok` and `note` can run.
    """

    about: str
    versions: dict[str, str]
    sections: tuple[Section, ...]
    benchmarks: Section

    @property
    def ready(self) -> tuple[str, ...]:
        """Labels of the benchmarks that can run."""
        return tuple(found.name for found in self.benchmarks.findings if found.state in ("ok", "note"))

    @property
    def healthy(self) -> bool:
        """Whether a benchmark can run and nothing is broken."""
        every = (found for section in (*self.sections, self.benchmarks) for found in section.findings)
        return bool(self.ready) and all(found.state != "broken" for found in every)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"healthy": self.healthy, "ready": list(self.ready), **asdict(self)}

    def to_text(self, width: int) -> str:
        """For a terminal of so many columns."""
        lines = [self.about]
        for section in (*self.sections, self.benchmarks):
            lines += ["", section.title, *_lines(section, width)]
        return "\n".join(lines) + "\n"


def _lines(section: Section, width: int) -> Iterator[str]:
    """State, name and sentences in columns; names of which nothing is told follow one another."""
    silent = [found for found in section.findings if not found.told]
    column = max((len(found.name) for found in section.findings if found.told), default=0)
    margin = " " * (_STATE + column + 4)
    if silent:
        names = ", ".join(printable(found.name) for found in silent)
        yield from _wrapped(names, width, f"  {silent[0].state:<{_STATE}}", " " * (_STATE + 2))
    for found in section.findings:
        start = f"  {found.state:<{_STATE}}{printable(found.name):<{column}}  "
        for sentence in found.told:
            yield from _wrapped(printable(sentence), width, start, margin)
            start = margin
        for command in found.commands:
            yield f"{margin}$ {command}"  # in one line, to be copied


def _wrapped(text: str, width: int, start: str, margin: str) -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=start, subsequent_indent=margin, break_long_words=False, break_on_hyphens=False
    )
