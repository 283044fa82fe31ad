"""Where a model's numbers come from: commands that make them again, the record of the run, card and citation."""

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

import pagbench
from pagbench import columns, models
from pagbench.benchmarks import Benchmark
from pagbench.cards import ModelCard
from pagbench.results import verification
from pagbench.studies.models import StudiedModel, Study

TITLE = "pagbench: a benchmark for the input gradients of robust vision models"
AUTHORS = "The pagbench authors"
_THEORY_BIBTEX = """@inproceedings{srinivas2023gradients,
  title = {{Which Models Have Perceptually-Aligned Gradients? An Explanation via Off-Manifold Robustness}},
  author = {Srinivas, Suraj and Bordt, Sebastian and Lakkaraju, Himabindu},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2023},
  url = {https://arxiv.org/abs/2305.19101},
}"""
_SHOWN_ELSEWHERE = ("id", "title")
_PLAIN_COMMAND = re.compile(r"pagbench (run|train)( [A-Za-z0-9._/:,=@+-]+)*")
"""A command that does nothing else in any shell."""
_NAMES = {
    "dataset": "trained on",
    "trained_on": "images that it was trained on, as declared",
    "training_accuracy": "accuracy on the training split, as declared",
    "input_shape": "images (channels, height, width)",
    "mean": "mean that is subtracted",
    "std": "standard deviation that is divided by",
    "weights": "weights file",
    "weights_sha256": "sha256 of the weights",
    "license": "licence",
    "training_command": "how it was trained, in its authors' words",
    "seed": "training seed",
}
_DECLARED = {
    "train": "those of the benchmark's training split alone",
    "other": "further ones than the benchmark's training split, none of them measured",
    "measured": "measured ones may be among them",
    "unknown": "unknown",
}
"""What a card's `trained_on` says."""


class Command(NamedTuple):
    """A command line, and what it does."""

    does: str
    line: str


class Fact(NamedTuple):
    """One thing that is known of a model or a run."""

    name: str
    value: str


def commands(study: Study, model: StudiedModel) -> list[Command]:
    """What measures the model again, what trained it, and what the recorded run was called with.

    The last two are texts of others: they are shown where they are one `pagbench train` or `pagbench run` each.
    """
    listed = [
        Command("Measure this row again", _run(study.benchmark, model)),
        Command("Train the model again", _command(model.card.training_command, "train")),
        Command("As it was run", _command(model.provenance.get("command"), "run")),
    ]
    return [command for command in listed if command.line]


def _command(text: object, does: str) -> str:
    """A text of others as a command of pagbench; empty where it is none, or more than one.

    >>> _command("pagbench train digits --seed 0", "train"), _command("pagbench train digits; curl x | sh", "train")
    ('pagbench train digits --seed 0', '')
    """
    match = _PLAIN_COMMAND.fullmatch(text) if isinstance(text, str) else None
    return match[0] if match is not None and match[1] == does else ""


def _run(benchmark: Benchmark, model: StudiedModel) -> str:
    card, seed = model.card, model.provenance.get("seed")
    wrapped = card.smoothing is not None and card.smoothing.around is not None
    known = card.loader == "source" or wrapped or card.id in models.names()
    parts = ["pagbench", "run", card.id if known else "model.yaml", "--benchmark", benchmark.label]
    if seed != benchmark.seed:
        parts += ["--seed", str(seed)]
    optional = [name for name in columns.OPTIONAL if _has_measure(model, name, benchmark)]
    return shlex.join([*parts, *(["--measures", ",".join(optional)] if optional else [])])


def _has_measure(model: StudiedModel, measure: str, benchmark: Benchmark) -> bool:
    names = [column.name for column in columns.sample_columns(benchmark, [measure])]
    return any(name in model.rows and np.isfinite(model.rows[name].to_numpy(float)).any() for name in names)


def record(study: Study, model: StudiedModel) -> list[Fact]:
    """The run: when, where, with which versions, of which code; and the hashes of all that went in and came out."""
    provenance = model.provenance
    seconds, command = provenance.get("wall_seconds"), provenance.get("command")
    facts = [
        Fact("measured", _text(provenance.get("started"))),
        Fact("took", f"{seconds:.1f} s" if isinstance(seconds, int | float) else ""),
        Fact("command, as recorded", "" if _command(command, "run") else _text(command)),
        Fact("device", _text(provenance.get("device"))),
        Fact("precision", _text(provenance.get("precision"))),
        Fact("noise seed", _text(provenance.get("seed"))),
        Fact("images", f"{len(model.rows)} of {len(study.benchmark.samples)}"),
        Fact("commit of pagbench", _text(provenance.get("commit"))),
        Fact("versions", versions(provenance.get("versions"))),
        Fact("sha256 of the card", model.card.digest()),
        Fact("sha256 of the weights", _text(provenance.get("weights_sha256"))),
        Fact("sha256 of the benchmark", _text(provenance.get("benchmark_digest"))),
        Fact("sha256 of the results file", "" if model.path is None else verification.sha256(model.path)),
    ]
    networks = provenance.get("networks")
    for part, built in networks.items() if isinstance(networks, Mapping) else ():
        if isinstance(built, Mapping) and "weights_sha256" in built:
            facts.append(Fact(f"sha256 of the {part} weights", _text(built["weights_sha256"])))
    return [fact for fact in facts if fact.value]


def runs(model: StudiedModel) -> list[Fact]:
    """Each run that measured some of the rows, where there were several."""
    recorded = recorded_runs(model)
    if len(recorded) < 2:
        return []
    parts = ("started", "device", "commit", "command")
    return [
        Fact(f"{_text(run.get('rows'))} rows", ", ".join(_text(run.get(part)) for part in parts)) for run in recorded
    ]


def recorded_runs(model: StudiedModel) -> list[Mapping[str, Any]]:
    """The runs that a results file was joined from, as it names them; none where it is of one run."""
    recorded = model.provenance.get("runs")
    return [run for run in recorded if isinstance(run, Mapping)] if isinstance(recorded, list) else []


def card(shown: ModelCard) -> list[Fact]:
    """Every field of a card that says something, in the card's order, under names for people."""
    facts = []
    for name, value in shown.model_dump(mode="json", exclude_none=True).items():
        is_command = name == "training_command" and _command(value, "train")
        if name not in _SHOWN_ELSEWHERE and not is_command and value not in ({}, [], ""):
            label = _NAMES.get(name, name.replace("_", " "))
            parts = value if isinstance(value, dict) else {"": value}
            for part, inner in parts.items():
                text = _DECLARED.get(inner, inner) if name == "trained_on" else _text(inner)
                facts.append(Fact(f"{label}: {part.replace('_', ' ')}" if part else label, text))
    return facts


def versions(recorded: Any) -> str:
    """Packages and their versions, in one line.

    >>> versions({"torch": "2.15.0", "numpy": "2.4.6"})
    'numpy 2.4.6, torch 2.15.0'
    """
    if not isinstance(recorded, Mapping):
        return _text(recorded)
    return ", ".join(f"{name} {recorded[name]}" for name in sorted(recorded))


def _text(value: Any) -> str:
    """A value of a record that others wrote, whatever it is."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        return ", ".join(map(str, value))
    return str(value) if isinstance(value, str | int | float) else json.dumps(value, ensure_ascii=False)


def citation(shown: ModelCard) -> str:
    """The model, where others made it or it has a reference; empty otherwise."""
    if not _is_of_others(shown):
        return ""
    return f"{shown.authors or shown.id}, {shown.title}. {shown.reference or ''}".strip()


def bibtex(shown: ModelCard) -> str:
    """BibTeX entries of the model, likewise, of pagbench, and of the paper whose theory it measures."""
    model = {"title": shown.title, "author": shown.authors, "howpublished": shown.reference, "note": shown.id}
    key = re.sub(r"[^A-Za-z0-9]+", "-", shown.id)
    entries = [_entry("misc", key, model)] if _is_of_others(shown) else []
    entries.append(_entry("software", "pagbench", {"title": TITLE, "author": AUTHORS, "version": pagbench.__version__}))
    return "\n\n".join([*entries, _THEORY_BIBTEX])


def _is_of_others(shown: ModelCard) -> bool:
    """Whether a model has authors of its own, or a reference."""
    return bool(shown.reference) or (shown.authors is not None and shown.authors != AUTHORS)


def _entry(kind: str, key: str, fields: dict[str, str | None]) -> str:
    lines = [f"  {name} = {{{{{_literal(value)}}}}}," for name, value in fields.items() if value]
    return "\n".join([f"@{kind}{{{key},", *lines, "}"])


def _literal(value: str) -> str:
    """Text that cannot end its field: what BibTeX and TeX read as commands is left out or escaped."""
    return re.sub(r"([%&#$_])", r"\\\1", re.sub(r"[{}\\^~\s]+", " ", value)).strip()
