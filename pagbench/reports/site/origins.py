"""Where a network's numbers come from: the commands that make them again, and the record of the run. No torch."""

import json
import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from pagbench import columns, models
from pagbench.benchmarks import Benchmark
from pagbench.cards import ModelCard
from pagbench.results import verification
from pagbench.studies.networks import Network, Study


class Command(NamedTuple):
    """A command line, and what it does."""

    does: str
    line: str


class Fact(NamedTuple):
    """One thing that is known of a network or a run."""

    name: str
    value: str


def commands(study: Study, network: Network) -> list[Command]:
    """What measures the network again, what trained it, and what the recorded run was called with."""
    found = [Command("Measure this row again", _run(study.benchmark, network))]
    if network.card.training_command:
        found.append(Command("Train the network again", network.card.training_command))
    recorded = _text(network.provenance.get("command"))
    return [*found, Command("As it was run", recorded)] if recorded else found


def _run(benchmark: Benchmark, network: Network) -> str:
    parts = ["pagbench", "run", _named(network.card), "--benchmark", benchmark.label]
    seed = network.provenance.get("seed")
    if seed != benchmark.seed:
        parts += ["--seed", str(seed)]
    optional = [name for name in columns.OPTIONAL if _has(network, name, benchmark)]
    return shlex.join([*parts, *(["--measures", ",".join(optional)] if optional else [])])


def _has(network: Network, measure: str, benchmark: Benchmark) -> bool:
    names = [column.name for column in columns.sample_columns(benchmark, [measure])]
    return any(name in network.rows and np.isfinite(network.rows[name]).any() for name in names)


def _named(card: ModelCard) -> str:
    """What a command calls a network: its id where pagbench knows it, else `model.yaml` for a card of one's own."""
    wrapped = card.smoothing is not None and card.smoothing.around is not None
    return card.id if card.id in models.names() or card.loader == "source" or wrapped else "model.yaml"


def record(study: Study, network: Network) -> list[Fact]:
    """The run: when, where, with which versions, of which code; and the hashes of all that went in and came out."""
    provenance = network.provenance
    seconds = provenance.get("wall_seconds")
    facts = [
        Fact("measured", _text(provenance.get("started"))),
        Fact("took", f"{seconds:.1f} s" if isinstance(seconds, int | float) else ""),
        Fact("device", _text(provenance.get("device"))),
        Fact("precision", _text(provenance.get("precision"))),
        Fact("noise seed", _text(provenance.get("seed"))),
        Fact("images", f"{len(network.rows)} of {len(study.benchmark.samples)}"),
        Fact("commit of pagbench", _text(provenance.get("commit"))),
        Fact("versions", versions(provenance.get("versions"))),
        Fact("sha256 of the card", network.card.digest()),
        Fact("sha256 of the weights", _text(provenance.get("weights_sha256"))),
        Fact("sha256 of the benchmark", _text(provenance.get("benchmark_digest"))),
        Fact("sha256 of the results file", "" if network.path is None else verification.sha256(network.path)),
    ]
    networks = provenance.get("networks")
    for part, made in networks.items() if isinstance(networks, Mapping) else ():
        if isinstance(made, Mapping) and "weights_sha256" in made:
            facts.append(Fact(f"sha256 of the {part} weights", _text(made["weights_sha256"])))
    return [fact for fact in facts if fact.value]


def runs(network: Network) -> list[Fact]:
    """Each run that measured some of the rows, where there were several."""
    found = recorded(network)
    if len(found) < 2:
        return []
    parts = ("started", "device", "commit", "command")
    return [Fact(f"{_text(run.get('rows'))} rows", ", ".join(_text(run.get(part)) for part in parts)) for run in found]


def recorded(network: Network) -> list[Mapping[str, Any]]:
    """The runs that a results file was joined from, as it names them; none where it is of one run."""
    kept = network.provenance.get("runs")
    return [run for run in kept if isinstance(run, Mapping)] if isinstance(kept, list) else []


def card(shown: ModelCard) -> list[Fact]:
    """Every field of a card that says something, in the card's order, under names for people."""
    content = shown.model_dump(mode="json", exclude_none=True)
    facts = []
    for name, value in content.items():
        if name in _ELSEWHERE or value in ({}, [], ""):
            continue
        nested = value if isinstance(value, dict) else {"": value}
        facts += [Fact(_label(name, part), _text(inner)) for part, inner in nested.items()]
    return facts


_ELSEWHERE = ("id", "title", "training_command")
_NAMES = {
    "dataset": "trained on",
    "input_shape": "images (channels, height, width)",
    "mean": "mean that is subtracted",
    "std": "standard deviation that is divided by",
    "weights": "weights file",
    "weights_sha256": "sha256 of the weights",
    "license": "licence",
    "seed": "training seed",
    "training": "training",
    "smoothing": "smoothing",
}


def _label(name: str, part: str) -> str:
    own = _NAMES.get(name, name.replace("_", " "))
    return f"{own}: {part.replace('_', ' ')}" if part else own


def versions(found: Any) -> str:
    """Packages and their versions, in one line.

    >>> versions({"torch": "2.15.0", "numpy": "2.4.6"})
    'numpy 2.4.6, torch 2.15.0'
    """
    return ", ".join(f"{name} {found[name]}" for name in sorted(found)) if isinstance(found, Mapping) else _text(found)


def _text(value: Any) -> str:
    """A value of a record that others wrote, whatever it is."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        return ", ".join(map(str, value))
    return str(value) if isinstance(value, str | int | float) else json.dumps(value, ensure_ascii=False)
