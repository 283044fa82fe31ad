"""Checks a submitted results file without measuring anything: its form, origin, rows, values, pictures. No torch."""

import textwrap
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pandas as pd

from pagbench import benchmarks, columns, results
from pagbench.benchmarks import Benchmark
from pagbench.cards import ModelCard
from pagbench.errors import PagbenchError, ResultsError
from pagbench.results import Result, thumbnails, verification
from pagbench.results.contradictions import contradictions, identity, implausible
from pagbench.results.plain import is_plausible
from pagbench.submissions.findings import Finding

_SHOWN = 3
_AGAIN = "measure again (pagbench submit run DIR --overwrite)"
_LONGEST = 500
"""Characters of a message: what a stranger's file says may be endless."""


def check_folder(folder: Path, card: ModelCard, weights_sha256: str | None = None) -> list[Finding]:
    """Findings on all results files of a submission.

    Args:
        folder: its results folder, `<benchmark>/<model>.parquet` in it.
        card: the submission's.
        weights_sha256: of the submission's weights file; None to leave that comparison to the rerun.
    """
    findings = []
    for path in sorted(folder.rglob("*.parquet")):
        label, _, file = path.relative_to(folder).as_posix().partition("/")
        name, _, measure = label.partition("+")
        if name not in benchmarks.names() or (measure and measure not in columns.OPTIONAL):
            message = f"no benchmark of this name; known: {', '.join(benchmarks.names())}"
            findings.append(Finding("error", label, message))
        elif file != f"{card.id}.parquet":
            message = f"expected {label}/{card.id}.parquet, the card's id"
            findings.append(Finding("error", f"{label}/{file}", message))
        else:
            benchmark = benchmarks.load(name)
            findings += check_results(path, card, benchmark, weights_sha256, measure=measure or None)
            findings += _check_record(path, card, benchmark, weights_sha256)
    return findings


def check_results(
    path: Path,
    card: ModelCard,
    benchmark: Benchmark,
    weights_sha256: str | None = None,
    *,
    measure: str | None = None,
    labels: Mapping[str, int] | None = None,
) -> list[Finding]:
    """Findings on one results file: an error for each reason not to believe it, or one `ok`.

    No reason is no proof: values that agree with each other may still be invented, and only a rerun tells
    (`pagbench verify`).

    Args:
        path: the file.
        card: of the model that it should be of.
        benchmark: the definition that it should be measured on.
        weights_sha256: of the model's weights; None to leave that comparison to the rerun.
        measure: the optional measure whose rows they should be; None for the benchmark's own measures.
        labels: true class of each sample; by default as in the published results, where there are any.
    """
    subject = f"{benchmark.label}{f'+{measure}' if measure else ''}/{path.name}"
    try:
        result = results.read(path, columns.schema(benchmark, measure), len(benchmark.samples))
        labels = labels or published_labels(benchmark)
        errors = [
            *_origin(result, card, benchmark, weights_sha256),
            *dict.fromkeys(
                [
                    *identity(result.rows, card, benchmark, benchmark.seed),
                    *contradictions(result, benchmark, measure),
                ]
            ),
            *_samples(result.rows, columns.samples_of(benchmark, measure), labels),
        ]
        errors += [] if errors else _pictures(result)  # unpacked only where their sizes are right
        if measure is None:
            errors += implausible(result.rows, benchmark)
        described = _check_description(result, card, subject)
    except ResultsError as error:
        errors, described = [str(error).removeprefix(f"{path}: ")], []
    if errors:
        return [Finding("error", subject, textwrap.shorten(message, _LONGEST)) for message in errors] + described
    return [Finding("ok", subject, f"{len(result.rows)} rows, no contradiction"), *described]


def _check_record(path: Path, card: ModelCard, benchmark: Benchmark, weights_sha256: str | None) -> list[Finding]:
    """What is wrong with the verification record beside the file, if there is one."""
    record = verification.find(path)
    if not record.exists():
        return []
    subject = f"{benchmark.label}/{record.name}"
    try:
        kept = verification.read(path, benchmark.label, card.id, weights_sha256)
    except ResultsError as error:
        return [Finding("error", subject, str(error).removeprefix(f"{record}: "))]
    if kept is None:
        return [
            Finding("warning", subject, "is of other results than these and does not count; `pagbench verify` anew")
        ]
    return [Finding("error", subject, f"{kept.summary()}: {kept.reason}")] if kept.verdict == "refuted" else []


def _origin(result: Result, card: ModelCard, benchmark: Benchmark, weights_sha256: str | None) -> Iterator[str]:
    """The provenance: of this benchmark, these measures, this network."""
    provenance, kept = result.document, result.provenance.card
    expected = {
        "revision": (columns.REVISION, "of the measures"),
        "benchmark": (benchmark.label, "the results are of another benchmark, or another version of it"),
        "benchmark_digest": (benchmark.digest(), "the benchmark's definition was another"),
        "seed": (benchmark.seed, "the noise was not the benchmark's"),
        "weights_sha256": (weights_sha256, "the results are of other weights"),
    }
    wrong = [name for name, (value, _) in expected.items() if value is not None and provenance.get(name) != value]
    for name in wrong:
        value, meaning = expected[name]
        yield f"{name} {_short(provenance.get(name))}, expected {_short(value)}: {meaning}; {_AGAIN}"
    if kept.id != card.id:
        yield f"the card in it is of {kept.id}, expected {card.id}; {_AGAIN}"
    elif "weights_sha256" not in wrong and not (
        provenance.get("behaviour") == kept.functional_hash() == card.functional_hash()
    ):
        yield f"the card was of another network, with another {_differing(kept, card)}; {_AGAIN}"
    source = result.provenance
    times = dict.fromkeys(moment for moment in (source.started, *(run.started for run in source.runs)) if moment)
    for moment in times:
        if not is_plausible(moment):
            yield f"measured on {moment}, which has not come or is long past, by the clock of this machine; {_AGAIN}"
    preflight = source.preflight
    if preflight is not None and preflight.verdict == "fail":
        yield f"its pre-flight has failed: {preflight.summary()}"


def _differing(kept: ModelCard, card: ModelCard) -> str:
    """Names of the fields in which two cards differ."""
    names = [name for name in ModelCard.model_fields if getattr(kept, name) != getattr(card, name)]
    return ", ".join(names) or "hash"


def _check_description(result: Result, card: ModelCard, subject: str) -> list[Finding]:
    """Titles, licences and the like that the file's card has otherwise: its pages show those of the file."""
    kept = result.provenance.card
    if kept == card or kept.functional_hash() != card.functional_hash():
        return []
    if kept.embargo != card.embargo:
        said = "says" if kept.embargo else "does not say"
        message = f"the card in it {said} that the weights are under embargo; {_AGAIN}"
        return [Finding("error", subject, message)]
    message = f"the card in it has another {_differing(kept, card)} than the model's, and is the one that is shown"
    return [Finding("warning", subject, message)]


def _short(value: object) -> str:
    return str(value)[:12] if isinstance(value, str) and len(value) == 64 else str(value)[:60]


def _samples(rows: pd.DataFrame, samples: tuple[str, ...], labels: Mapping[str, int] | None) -> Iterator[str]:
    """Every sample that is measured once, and with its label."""
    ids, known = rows["sample_id"], set(samples)
    unknown = [name for name in ids if name not in known]
    if unknown:
        yield f"{len(unknown)} rows of samples that are not asked for ({_some(unknown)})"
    twice = ids[ids.duplicated()].tolist()
    if twice:
        yield f"{len(twice)} samples more than once ({_some(twice)}); expected each once"
    present = set(ids)
    missing = [name for name in samples if name not in present]
    if missing:
        yield f"{len(missing)} of {len(known)} samples are missing ({_some(missing)}); `pagbench run` measures the rest"
    if labels is not None:
        wrong = [name for name, label in zip(ids, rows["label"], strict=True) if labels.get(name, label) != label]
        if wrong:
            yield f"{len(wrong)} labels are not the data set's (samples {_some(wrong)})"


def _some(names: list[str]) -> str:
    return ", ".join(str(name)[:20] for name in names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


@cache
def published_labels(benchmark: Benchmark) -> Mapping[str, int] | None:
    """Labels of a benchmark's samples as the published results have them; None where there are none."""
    for path in sorted((results.PUBLISHED / benchmark.label).rglob("*.parquet")):
        try:
            rows = results.read(path, columns.schema(benchmark)).rows
        except PagbenchError:
            continue
        return dict(zip(rows["sample_id"], rows["label"].astype(int), strict=True))
    return None


def _pictures(result: Result) -> Iterator[str]:
    """Whether the pictures can be unpacked."""
    source = result.provenance
    try:
        for encoded in (source.maps, source.gallery):
            thumbnails.decode(encoded, result.name)
        thumbnails.decode_generated(source.made, result.name)
    except ResultsError as error:
        yield str(error)
