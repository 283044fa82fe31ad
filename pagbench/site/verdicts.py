"""Whose gradients are the most aligned on a benchmark, and how sure that is: a leaderboard in a few sentences."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pagbench.benchmarks import Benchmark
from pagbench.ranking import eligibility
from pagbench.site import pictures
from pagbench.study import Network, Study
from pagbench.verification import SELF_REPORTED

_NAMED = 3
"""So many rivals are named, the others counted."""


@dataclass(frozen=True)
class Standing:
    """One row of the leaderboard, as sentences need it.

    Attributes:
        model: its id.
        alignment: with its 95 % interval.
        low: lower end of it.
        high: upper end.
        rank: None for controls.
        rank_low: best rank that the comparisons allow.
        rank_high: worst one.
        regime: None where none is judged.
        regime_probability: of the regime.
        trained_on_target: what its card declares; None where it declares nothing.
        trust: self-reported, verified or refuted.
        checked: by whom and when; empty where self-reported.
        gallery: its pictures, where there are any.
    """

    model: str
    alignment: float
    low: float | None
    high: float | None
    rank: int | None
    rank_low: int | None
    rank_high: int | None
    regime: str | None
    regime_probability: float | None
    trained_on_target: bool | None
    trust: str
    checked: str
    gallery: pictures.Gallery | None


@dataclass(frozen=True)
class Verdict:
    """What a leaderboard says of its first place.

    Two models cannot be told apart where the simultaneous 95 % comparisons of all pairs do not separate them. As many
    as that are not separated from the first one lie between its rank and its worst rank; those whose best rank is 1 are
    certainly among them, for nothing is better than these.

    Attributes:
        benchmark: the definition.
        measure: short name of the column that ranks.
        best: the first place; None where no model is ranked.
        ranked: how many models are.
        measured: how many models are measured, controls aside.
        indistinct: how many models cannot be told apart from the best.
        rivals: some of them, the best ones first.
        untrained: the best model that does not declare to be trained on the target, where the best one does.
        reference: the unregularised network.
        bayes: the Bayes control.
    """

    benchmark: Benchmark
    measure: str
    best: Standing | None
    ranked: int
    measured: int
    indistinct: int
    rivals: tuple[str, ...]
    untrained: Standing | None
    reference: Standing | None
    bayes: Standing | None

    @property
    def named(self) -> tuple[str, ...]:
        """The rivals that a sentence names."""
        return self.rivals[:_NAMED]


def content(study: Study) -> dict[str, Any]:
    """What `_verdict.html.j2` shows."""
    return {"verdict": of(study)}


def of(study: Study) -> Verdict:
    """The verdict of a benchmark's leaderboard."""
    board, benchmark = study.board, study.benchmark
    ranked = board[board["status"] == eligibility.RANKED].sort_values("rank", kind="stable")
    standings = {name: _standing(study, row) for name, row in _chosen(ranked, board, benchmark).items()}
    best = standings.get("best")
    may_be_first = ranked[ranked["rank_low"] == 1]["model"] if best else ranked["model"]
    return Verdict(
        benchmark=benchmark,
        measure=pictures.measure(benchmark),
        best=best,
        ranked=len(ranked),
        measured=int((~board["control"].astype(bool)).sum()),
        indistinct=0 if best is None or best.rank_high is None else best.rank_high - 1,
        rivals=tuple(name for name in may_be_first if best is not None and name != best.model),
        untrained=standings.get("untrained"),
        reference=standings.get("reference"),
        bayes=standings.get("bayes"),
    )


def _chosen(ranked: pd.DataFrame, board: pd.DataFrame, benchmark: Benchmark) -> dict[str, Mapping[Any, Any]]:
    """The rows that a verdict speaks of."""
    chosen: dict[str, Mapping[Any, Any]] = {}
    others = ranked[[value is not True for value in ranked["trained_on_target"]]]
    if len(ranked):
        chosen["best"] = ranked.iloc[0].to_dict()
        if ranked["trained_on_target"].iloc[0] is True and len(others):
            chosen["untrained"] = others.iloc[0].to_dict()
    for part, name in (("reference", benchmark.reference), ("bayes", benchmark.bayes)):
        found = board[(board["model"] == name) & board["alignment"].notna()]
        if len(found):
            chosen[part] = found.iloc[0].to_dict()
    return chosen


def _standing(study: Study, row: Mapping[Any, Any]) -> Standing:
    values = {name: None if pd.isna(value) else value for name, value in row.items()}
    network = next((network for network in study.networks if network.card.id == values["model"]), None)
    ranks = (values.get(name) for name in ("rank", "rank_low", "rank_high"))
    rank, rank_low, rank_high = (None if value is None else int(value) for value in ranks)
    trust, checked = _trust(network)
    return Standing(
        model=str(values["model"]),
        alignment=float(values["alignment"] or 0.0),
        low=values.get("alignment_low"),
        high=values.get("alignment_high"),
        rank=rank,
        rank_low=rank_low,
        rank_high=rank_high,
        regime=values.get("regime"),
        regime_probability=values.get("regime_probability"),
        trained_on_target=values.get("trained_on_target"),
        trust=trust,
        checked=checked,
        gallery=None if network is None else pictures.gallery(study, network),
    )


def _trust(network: Network | None) -> tuple[str, str]:
    found = None if network is None else network.verification
    return (SELF_REPORTED, "") if found is None else (found.verdict, found.summary())
