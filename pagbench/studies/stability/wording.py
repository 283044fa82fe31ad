"""A report's numbers as words, for the terminal, the site and the documentation alike."""

from pagbench.studies.stability.report import Moved, Outcome, Report, Tau

NAMES = {
    "alignment": "the published ranking",
    "alignment_lpips_corrected": "the ranking by LPIPS",
    "tangent_energy": "the ranking by tangent energy",
    "log_ratio": "the ranking by log off/on",
}
"""Rankings, by the column of the leaderboard that they are by."""
BAYES = "control/bayes"
_FEW = 2
_NONE = "–"


def concerned(choice: Moved) -> str:
    """Which ranking a choice concerns, in brackets; empty for the published one."""
    return "" if choice.ranking == "alignment" else f" ({NAMES[choice.ranking].removeprefix('the ranking ')})"


def tau(found: Tau) -> str:
    """With the interval over images."""
    return _interval(found.value, found.low, found.high)


def families(found: Tau) -> str:
    """The interval over families."""
    return _bounds(found.families_low, found.families_high)


def compared(outcome: Outcome) -> int:
    """How many models have a rank."""
    return sum(rank is not None for rank in outcome.ranks)


def farthest(choice: Moved, outcome: Outcome, report: Report, few: int = _FEW) -> str:
    """The models that move farthest beyond their rank intervals, with published rank and rank here."""
    place = {name: index for index, name in enumerate(report.names)}
    named = [
        f"{_short(name, report)} {choice.published.ranks[place[name]]} → {outcome.ranks[place[name]]}"
        for name in outcome.moved[:few]
    ]
    return ", ".join(named) or _NONE


def first(outcome: Outcome, report: Report) -> str:
    """Who is first, with its value and that of the Bayes control, whose gradient a fitting setting puts on top."""
    if outcome.first is None:
        return _NONE
    values = dict(zip(report.names, outcome.values, strict=True))
    bayes = values.get(BAYES)
    beside = "" if bayes is None else f" (Bayes {_number(bayes)})"
    return f"{_short(outcome.first, report)} {_number(values[outcome.first])}{beside}"


def regimes(choice: Moved, outcome: Outcome, report: Report) -> str:
    """How many models' regimes differ from the published ones on the same images."""
    found = changed_regimes(choice, outcome, report)
    if found is None:
        return _NONE
    judged = any(regime is not None for regime in outcome.regimes or ())
    return f"{len(found)} of {len(report.models)} move" if judged else "none can be judged"


def changed_regimes(choice: Moved, outcome: Outcome, report: Report) -> dict[str, tuple[str | None, str | None]] | None:
    """Published regime and regime here, of each model where they differ; None where the choice moves none."""
    before, after = choice.published.regimes, outcome.regimes
    if before is None or after is None or all(regime is None for regime in before):
        return None
    told = zip(report.names, before, after, strict=True)
    return {name: (was, now) for name, was, now in told if was != now}


def concerning(report: Report) -> list[Moved]:
    """The choices that the published ranking depends on."""
    return [choice for choice in report.choices if choice.ranking == "alignment"]


def verdict(report: Report) -> str:
    """Which choices overturn the published ranking, in one sentence."""
    found = report.overturned
    moved = concerning(report)
    if not found:
        return f"None of the {len(moved)} choices that it depends on overturns the published ranking."
    named = "; ".join(f"{choice.summary} ({_settings(choice)})" for choice in found)
    return f"{len(found)} of the {len(moved)} choices that it depends on would overturn the published ranking: {named}."


def _short(name: str, report: Report) -> str:
    """An id without the collection that most are of."""
    return name.removeprefix(f"{report.benchmark.partition('@')[0]}/")


def _settings(choice: Moved) -> str:
    return ", ".join(outcome.name for outcome in choice.overturning)


def _number(value: float | None) -> str:
    return _NONE if value is None else f"{value:.2f}".replace("-", "−")


def _interval(value: float | None, low: float | None, high: float | None) -> str:
    return _NONE if value is None else f"{_number(value)} {_bounds(low, high)}"


def _bounds(low: float | None, high: float | None) -> str:
    return _NONE if low is None or high is None else f"[{_number(low)}, {_number(high)}]"
