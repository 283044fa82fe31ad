"""A report: results alone, of a model that the registry knows, and who has measured them. No torch."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from pagbench import columns, results
from pagbench.benchmarks import Benchmark
from pagbench.cards import Identifier, ModelCard
from pagbench.cards.plain_yaml import LARGEST_YAML, read_yaml
from pagbench.errors import CardError, PagbenchError, ResultsError
from pagbench.models import registry
from pagbench.models.registry import CONTROLS
from pagbench.results.folders import find_models
from pagbench.results.plain import Digest
from pagbench.storage import files
from pagbench.submissions import folder
from pagbench.submissions.add import move
from pagbench.submissions.check_results import check_results
from pagbench.submissions.findings import Finding, refused
from pagbench.submissions.folder import REPORT

_UNPINNED = ("hf", "local", "own", "trained", "smoothed")
"""First parts of ids that name no model of ours: anybody's repository, or a network of one's own."""


class Report(BaseModel):
    """What stands in `report.yaml`."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    model: Identifier
    """Id of the model, as `pagbench run` takes it."""
    weights_sha256: Digest
    """Of the weights that were measured."""
    by: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=200)]
    """Who has measured it."""

    @classmethod
    def read(cls, root: Path) -> "Report":
        """The report of a folder.

        Raises:
            CardError: it is missing, not plain YAML, or a field is wrong.
        """
        path = root / REPORT
        try:
            return cls.model_validate(read_yaml(path))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise CardError(f"{path}: {where}: {first['msg']}; write it with `pagbench submit results`") from None


def home_of(leaderboard: Path, benchmark: Benchmark, model: str) -> Path:
    """Where a report lies in a leaderboard: `<leaderboard>/submissions/<name>@<version>/<id>`."""
    return leaderboard / "submissions" / benchmark.label / model


def known_card(model: str) -> ModelCard:
    """The card of a model that the registry knows by its id.

    Raises:
        ResultsError: it does not, or anybody can change what the id stands for.
    """
    if model.partition("/")[0].partition("-")[0] in _UNPINNED or model.endswith((".yaml", ".yml")):
        raise ResultsError(f"{model}: no model of the registry; submit your own with `pagbench submit init`")
    try:
        request = registry.find(model)
    except PagbenchError as error:
        raise ResultsError(
            f"{model}: no model of the registry ({error}); submit your own with `pagbench submit init`"
        ) from None
    card = request.card
    if request.path is not None and request.path != registry.shipped().get(model):
        raise ResultsError(f"{model}: a submission of {card.authors}, who alone may change its results")
    if card.id != model:
        raise ResultsError(f"{model}: is called {card.id} in full; give that id")
    return card


def reportable(results_folder: Path, benchmark: Benchmark, leaderboard: Path) -> tuple[list[str], list[str]]:
    """Models of a results folder whose results the leaderboard lacks, and lines on those that are left out.

    Args:
        results_folder: as `pagbench run` has written it.
        benchmark: the definition.
        leaderboard: whose published results count.
    """
    models, left_out = list[str](), list[str]()
    for files_of_model in find_models(results_folder, benchmark):
        name = files_of_model.name
        if results.path_of(leaderboard / "results", benchmark, name).exists():
            if name not in benchmark.anchors:
                left_out.append(f"{name}: its results on {benchmark.label} are published already")
            continue
        try:
            card = known_card(name)
        except ResultsError as error:
            left_out.append(str(error))
            continue
        if card.architecture in CONTROLS and name not in benchmark.anchors:
            continue
        models.append(name)
    return models, left_out


def create(root: Path, source: Path, benchmark: Benchmark, model: str, by: str) -> None:
    """Writes a report into a folder: a copy of the model's results files, and `report.yaml`.

    Args:
        root: the folder to write.
        source: the results folder.
        benchmark: the definition.
        model: its id.
        by: who has measured it.

    Raises:
        ResultsError: the results cannot be read or copied.
        CardError: `by` is not one line of text.
    """
    path = results.path_of(source, benchmark, model)
    if not path.is_file():
        raise ResultsError(f"{path}: not there, the run is unfinished; finish it with `pagbench run {model}`")
    read = results.read(path, columns.schema(benchmark), len(benchmark.samples))
    content = {"model": model, "weights_sha256": read.provenance.weights_sha256, "by": by}
    try:
        Report.model_validate(content)
    except ValidationError as error:
        raise CardError(f"--by: {error.errors()[0]['msg']}, got {by[:60]!r}") from None
    try:
        for measure in (None, *columns.OPTIONAL):
            if (own := results.path_of(source, benchmark, model, measure)).is_file():
                copy = results.path_of(root / folder.RESULTS, benchmark, model, measure)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(own, copy)
    except OSError as error:
        raise ResultsError(f"{root}: cannot copy {path} there ({error.strerror or error})") from None
    files.write(root / REPORT, yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110))


def lay(copy: Path, target: Path) -> None:
    """Moves a checked report into its place, in that of an older one. Reports of longer ids below it stay.

    Raises:
        ResultsError: the disk refuses.
    """
    for name in (folder.RESULTS, REPORT):
        move(copy / name, target / name)


def check(root: Path, leaderboard: Path, benchmark: Benchmark) -> Iterator[Finding]:
    """Findings about a report. Nothing is measured: only a rerun (`pagbench verify`) tells whether values are true.

    Args:
        root: its folder.
        leaderboard: the folder that it is for.
        benchmark: what the results are on.
    """
    findings = list(folder.check_files(root, REPORT))
    yield from findings
    if refused(findings):
        return
    try:
        report = Report.read(root)
        card = known_card(report.model)
    except PagbenchError as error:
        yield Finding("error", REPORT, str(error).removeprefix(f"{root / REPORT}: "))
        return
    findings = [*_check_place(root, leaderboard, benchmark, report), *_check_weights(card, report)]
    yield from findings
    allowed = {REPORT: LARGEST_YAML} | folder.results_files(report.model)
    findings = list(folder.check_sizes(root, allowed))
    yield from findings
    if refused(findings):
        return
    for measure in (None, *columns.OPTIONAL):
        path = results.path_of(root / folder.RESULTS, benchmark, report.model, measure)
        if measure is None or path.exists():
            yield from check_results(path, card, benchmark, report.weights_sha256, measure=measure)


def _check_place(root: Path, leaderboard: Path, benchmark: Benchmark, report: Report) -> Iterator[Finding]:
    """Whether these results are free to be reported, and lie where they belong."""
    leaderboard = leaderboard.absolute()
    target = home_of(leaderboard, benchmark, report.model)
    if results.path_of(leaderboard / "results", benchmark, report.model).exists():
        yield Finding("error", "model", f"results of {report.model} on {benchmark.label} are published already")
    elif root.absolute() != target and root.absolute().is_relative_to(leaderboard / "submissions"):
        yield Finding("error", "model", f"{report.model} on {benchmark.label} belongs in {target}")
    elif root.absolute() != target and (target / folder.CARD).exists():
        yield Finding("error", "model", f"{report.model} is a submission; its authors alone may change its results")
    elif root.absolute() != target and (target / REPORT).exists():
        other = Report.read(target)
        if other.by != report.by:
            message = f"{report.model} is reported by {other.by} already; `pagbench verify` tells whether it is true"
            yield Finding("error", "by", message)
    else:
        yield Finding("ok", "model", f"{report.model}, reported by {report.by}")


def _check_weights(card: ModelCard, report: Report) -> Iterator[Finding]:
    """Whether the weights are those that the registry knows."""
    expected = folder.pinned_sha256(card)
    if not report.weights_sha256:
        yield Finding("error", "weights_sha256", "is empty; measure again, the results name none")
    elif expected is None:
        message = f"{report.weights_sha256[:12]}…; the registry knows no hash of this model, a rerun compares"
        yield Finding("ok", "weights_sha256", message)
    elif expected != report.weights_sha256:
        message = f"{report.weights_sha256[:12]}…, the registry has {expected[:12]}…; fetch the weights again"
        yield Finding("error", "weights_sha256", message)
