"""Finds results of models and submissions, measures some images again, and says whether the results are true.

Weights that are not here are trained again where a published card says how.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from rich.progress import Progress

from pagbench import benchmarks, columns, results
from pagbench.benchmarks import Benchmark
from pagbench.cards import ModelCard, is_identifier
from pagbench.errors import ContractError, PagbenchError, ResultsError, UnknownNameError
from pagbench.models import checks, devices, registry
from pagbench.models.loading import LoadedModel
from pagbench.models.registry import Request
from pagbench.results import Provenance, Result, thumbnails, verification
from pagbench.results.comparison import TOLERANCE, Comparison, compare, compare_images
from pagbench.results.plain import as_line
from pagbench.results.preflight import Refusal
from pagbench.results.verification import Verification
from pagbench.running import provenance
from pagbench.running import thumbnails as running_thumbnails
from pagbench.running.config import RunConfig
from pagbench.running.progress import progress_bar
from pagbench.running.session import Session, guarded
from pagbench.submissions import folder
from pagbench.submissions.check import check_weights
from pagbench.submissions.check_results import check_results
from pagbench.submissions.folder import CARD, REPORT, RESULTS
from pagbench.submissions.report import Report, known_card
from pagbench.training.model import plan_of, train_again

SAMPLES = 50
"""If a share p of the rows is wrong, n drawn ones show it with a probability of 1 - (1 - p)^n or more: p = .05, .92."""


@dataclass(frozen=True)
class Subject:
    """One model's results on one benchmark, to be verified.

    Attributes:
        file: the results file.
        card: of the model that it should be of.
        source: what that model is called by: its id, or the card file of a submission.
        weights_sha256: of its weights file; None where that is known only when it is loaded.
        benchmark: what it was measured on.
        submission: the folder where it is one; None for a published model.
    """

    file: Path
    card: ModelCard
    source: str
    weights_sha256: str | None
    benchmark: Benchmark
    submission: Path | None = None

    def __str__(self) -> str:
        """Which results they are, for one line."""
        return f"{self.card.id} on {self.benchmark.label}"


@dataclass(frozen=True)
class Outcome:
    """What became of one subject.

    Attributes:
        subject: which results.
        record: the verdict, as it is kept beside the results file; None where there is none.
        flaw: why there is none: the model cannot be measured here.
    """

    subject: Subject
    record: Verification | None
    flaw: str = ""


def find_results(target: str, home: Path, benchmark: Benchmark | None = None) -> list[Subject]:
    """Results of a submission's folder, or of a model of a results folder.

    Args:
        target: a submission's folder, or a report's, or a model's id; an id that has results in `home` is no folder.
        home: the results folder.
        benchmark: only results on it; None for all.

    Raises:
        PagbenchError: there are no such results, or the model's card is not valid.
    """
    of_model = is_identifier(target) and not target.endswith((".yaml", ".yml"))  # no card of anybody's
    has_results = of_model and any(results.path_of(home, chosen, target).is_file() for chosen in _chosen(benchmark))
    submission = not has_results and (Path(target) / CARD).is_file()
    if not has_results and not submission and (Path(target) / REPORT).is_file():
        return _reported_results(Path(target), benchmark)
    if not submission and not of_model:
        raise ResultsError(f"{target}: neither a submission's folder nor a model's id; see `pagbench leaderboard`")
    subjects: list[Subject] = []
    for chosen in _chosen(benchmark):
        if submission:
            subjects += _submitted_results(Path(target), chosen)
            continue
        path = results.path_of(home, chosen, target)
        if path.is_dir():
            raise ResultsError(f"{path}: a folder where a results file is expected; move it out of the results folder")
        if path.is_file():
            try:
                request = registry.find(target)
            except UnknownNameError as error:
                raise ResultsError(f"{path}: results of a model that is not known here ({error})") from None
            sha256 = None if request.path is None else folder.weights_sha256(request.card, request.path.parent)
            subjects.append(Subject(path, request.card, target, sha256, chosen))
        root = _beside(home, chosen) / target  # where its id belongs: the cards of others are not read
        if (root / CARD).is_file():
            subjects += (subject for subject in _submitted_results(root, chosen) if subject.card.id == target)
        elif (root / REPORT).is_file():
            subjects += _reported_results(root, chosen)
    if not subjects:
        on = "" if benchmark is None else f" on {benchmark.label}"
        raise ResultsError(
            f"{target}: neither a submission's folder with results{on} nor a model with results{on} in {home}; "
            "see `pagbench leaderboard`"
        )
    return subjects


def find_targets(home: Path, benchmark: Benchmark | None = None) -> list[str]:
    """Every model of a results folder, and the folder of every submission beside it."""
    targets: list[str] = []
    for chosen in _chosen(benchmark):
        root = home / chosen.label
        files = [path for path in sorted(root.rglob("*.parquet")) if not path.parent.name.startswith(".")]
        targets += [path.relative_to(root).with_suffix("").as_posix() for path in files]
        targets += sorted(str(path.parent) for name in (CARD, REPORT) for path in _beside(home, chosen).rglob(name))
    return list(dict.fromkeys(targets))


def _chosen(benchmark: Benchmark | None) -> list[Benchmark]:
    return [benchmarks.load(label) for label in benchmarks.names()] if benchmark is None else [benchmark]


def _beside(home: Path, benchmark: Benchmark) -> Path:
    """The submissions that lie beside a results folder."""
    return home.absolute().parent / "submissions" / benchmark.label


def _submitted_results(root: Path, benchmark: Benchmark) -> Iterator[Subject]:
    card = folder.read_card(root)
    path = results.path_of(root / RESULTS, benchmark, card.id)
    if path.is_file():
        yield Subject(path, card, str(root / CARD), folder.weights_sha256(card, root), benchmark, root)


def _reported_results(root: Path, benchmark: Benchmark | None) -> list[Subject]:
    """Results of a model that the registry knows, which others have measured."""
    report = Report.read(root)
    card = known_card(report.model)
    return [
        Subject(path, card, report.model, report.weights_sha256, chosen)
        for chosen in _chosen(benchmark)
        if (path := results.path_of(root / RESULTS, chosen, report.model)).is_file()
    ]


def draw(benchmark: Benchmark, samples: int, seed: int) -> list[str]:
    """A uniformly random subset of a benchmark's samples, in its order; all of them where there are not more.

    >>> from pagbench import benchmarks
    >>> draw(benchmarks.load("digits"), 3, seed=0) == draw(benchmarks.load("digits"), 3, seed=0)
    True
    """
    count = min(samples, len(benchmark.samples))
    chosen = np.random.default_rng(seed).choice(len(benchmark.samples), count, replace=False)
    return [benchmark.samples[index] for index in sorted(chosen)]


def verify(
    subjects: Sequence[Subject],
    *,
    seed: int,
    by: str,
    samples: int = SAMPLES,
    tolerance: float = TOLERANCE,
    batch_size: int | None = None,
    device: str = "auto",
    train: bool = True,
    progress: bool = False,
) -> Iterator[Outcome]:
    """Verifies results one after the other; each record is kept as soon as it is known.

    Models of one benchmark are measured on the same images, whose targets are computed once. What is compared are
    per-sample values: means, intervals, ranks and regimes are never taken from a submission but computed from its rows.

    Args:
        subjects: what to verify, as `find_results` returns it.
        seed: of the draw of the images; unknown to the submitter beforehand.
        by: who verifies, for the record.
        samples: how many images to measure again.
        tolerance: see `pagbench.results.comparison.compare`.
        batch_size: images at a time, as many as fit by default; does not change a row.
        device: auto, cpu, cuda, mps.
        train: train again what is published without weights, and keep them in the cache; else it is not verified.
        progress: show a progress bar, and say what is trained.

    Raises:
        ContractError: the device does not exist.
    """
    chosen = devices.choose_device(device)
    ordered = sorted(subjects, key=lambda subject: subject.benchmark.label)
    with progress_bar(progress) as bar:
        task = bar.add_task("", total=samples * len(subjects))
        done = 0
        for benchmark, group in groupby(ordered, key=lambda subject: subject.benchmark):
            ids = draw(benchmark, samples, seed)
            config = RunConfig(benchmark=benchmark, ids=ids, device=chosen, seed=benchmark.seed, batch_size=batch_size)
            rerun = _Rerun(config, tolerance, bar if train else None)
            for subject in group:
                bar.update(task, description=str(subject))
                yield _verify_one(rerun, subject, seed, by, lambda images: bar.advance(task, images))
                done += 1
                bar.update(task, completed=done * samples)


def _verify_one(rerun: "_Rerun", subject: Subject, seed: int, by: str, advance: Callable[[int], None]) -> Outcome:
    """The verdict on one subject, kept beside its results; an error with it does not stop the others."""
    try:
        digest = verification.sha256(subject.file)
        compared, weights_sha256, samples = rerun.judge(subject, advance)
        reason = as_line(compared.reason, verification.LONGEST)
        record = Verification(
            benchmark=subject.benchmark.label,
            model=subject.card.id,
            results_sha256=digest,
            weights_sha256=weights_sha256,
            samples=samples,
            seed=seed,
            verdict="refuted" if reason else "verified",
            reason=reason,
            worst_column=compared.worst_column,
            worst_difference=round(compared.worst_difference, 3),
            by=as_line(by, verification.LONGEST),
            when=provenance.now(),
            **provenance.environment(rerun.config.device),
        )
        verification.write(subject.file, record)
    except PagbenchError as error:
        return Outcome(subject, None, str(error))
    return Outcome(subject, record)


class _Rerun:
    """What the subjects of one benchmark share: the drawn samples and their targets."""

    def __init__(self, config: RunConfig, tolerance: float, training: Progress | None) -> None:
        """`training` shows how far a training is; None where nothing is to be trained."""
        self.config, self._benchmark, self._tolerance, self._training = config, config.benchmark, tolerance, training

    @cached_property
    def _session(self) -> Session:
        return Session(self.config)

    def judge(self, subject: Subject, advance: Callable[[int], None]) -> tuple[Comparison, str, int]:
        """Checks the file alone, then the weights, which may have to be trained first, then measures.

        Returns:
            What is wrong, with no reason where the results are true; the weights' sha256; how many images were
            measured, 0 where the file alone is refuted.

        Raises:
            PagbenchError: the network cannot be loaded, trained again or measured here.
        """
        sha256 = subject.weights_sha256
        findings = check_results(subject.file, subject.card, self._benchmark, sha256)
        if errors := [finding.message for finding in findings if finding.level == "error"]:
            return Comparison("; ".join(errors[:3])), sha256 or "", 0
        if subject.card.embargo:
            raise ContractError(
                f"{subject.card.id} cannot be verified while under embargo: only its authors have the weights (sha256 "
                f"{str(subject.card.weights_sha256)[:12]}…)"
            )
        findings = [] if subject.submission is None else list(check_weights(subject.submission))
        if errors := [f"{finding.subject}: {finding.message}" for finding in findings if finding.level == "error"]:
            raise ContractError("; ".join(errors))
        result = results.read(subject.file, columns.schema(self._benchmark), len(self._benchmark.samples))
        (request,) = registry.resolve([subject.source], self._benchmark)
        if self._training is not None:
            _train_missing(request, self._training)
        try:
            model = request.load(self._benchmark)
        except Refusal as refusal:
            return Comparison(str(refusal)), sha256 or "", 0
        with guarded(subject.card.id):
            # of another network, or of other targets
            source = provenance.gather(model, self.config) | {"networks": self._session.targets.networks}
            difference = result.difference(Provenance.model_validate(source))
            if reason := difference or self._hidden_flag(model, result):
                return Comparison(reason), model.weights_sha256, 0
            batches = []
            for rows in self._session.rows(model, self.config.ids):
                batches.append(rows)
                advance(len(rows))
            compared = compare(result.rows, pd.concat(batches, ignore_index=True), self._benchmark, self._tolerance)
            compared = replace(compared, reason=compared.reason or self._other_images(model, result))
        return compared, model.weights_sha256, len(self.config.ids)

    def _hidden_flag(self, model: LoadedModel, result: Result) -> str:
        """What a pre-flight made now holds against the rows, and that in the file does not; empty for controls."""
        if model.card.control:
            return ""
        size = self._session.first_batch
        fresh = checks.preflight(model, self._benchmark, device=self.config.device, batch_size=size)
        reported = result.provenance.preflight
        admitted = reported is not None and reported.costs_the_rank
        costs = fresh.verdict == "fail" or (fresh.costs_the_rank and not admitted)
        if not costs and reported is not None and reported.has_kinks and not fresh.has_kinks:
            return "pre-flight: the network has no kinks at the images, by which the file excuses its gradient"
        return f"pre-flight: {fresh.summary()}" if costs else ""

    def _other_images(self, model: LoadedModel, result: Result) -> str:
        """Which pictures of images and gradients are not this network's, all of them made anew; empty where none is.

        Raises:
            ResultsError: the pictures are damaged.
        """
        session, name, device = self._session, model.card.id, self.config.device
        for kept in (result.provenance.maps, result.provenance.gallery):
            reported = thumbnails.decode(kept, name)
            if reported is None:
                continue
            if not set(reported.sample_ids) <= set(self._benchmark.samples):
                return "its pictures are of images that the benchmark does not have"
            images, target = session.splits.test.select(reported.sample_ids), session.targets.target
            encoded = running_thumbnails.gradients(
                session.measured(model), images, device=device, batch_size=session.first_batch, target=target
            )
            measured = thumbnails.decode(encoded, name)
            if measured is not None and (difference := compare_images(reported, measured)):
                return difference
        return ""


def _train_missing(request: Request, bar: Progress) -> None:
    """Trains again what is published without weights; says so in one line, with the time by that of its first steps.

    Only the published cards themselves are trained, not others of their ids, which could ask for any number of epochs.

    Raises:
        PagbenchError: the weights come out as others, or cannot be trained here.
    """
    name = request.card.id
    published = request.path is not None and request.path == registry.shipped().get(name)
    if not published or not request.to_be_trained or (plan := plan_of(request.card)) is None:
        return  # loading says what is missing
    task = bar.add_task(f"training {name}", total=None)
    begun: tuple[int, float] | None = None
    said, here = False, str(torch.__version__)

    def show(done: int, total: int, loss: float) -> None:
        nonlocal begun, said
        bar.update(task, completed=done, total=total)
        now = time.monotonic()
        first, start = begun = begun or (done, now)  # the very first steps are slower
        if not said and (done > first or done == total):
            minutes = round((total - done) * (now - start) / max(1, done - first) / 60)
            duration = f"about {minutes} minutes" if minutes > 1 else "a minute or less"
            made_by = request.card.training.get("torch", here)
            other = "" if made_by == here else f"; PyTorch {made_by} made them, and {here} may make others"
            say(f"{name}: its weights are not here; training them again, {duration}{other}")
            said = True

    def say(line: str) -> None:
        if not bar.disable:
            bar.console.print(line, markup=False, highlight=False, soft_wrap=True)

    try:
        train_again(
            request, plan, on_step=show, on_wait=lambda: say(f"{name}: waiting for another process that trains it")
        )
    finally:
        bar.remove_task(task)
