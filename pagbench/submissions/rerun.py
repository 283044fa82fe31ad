"""Measures some of a model's images again, by the runner's own loop, and says whether its results are true."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pandas as pd

from pagbench import columns
from pagbench.benchmarks import Benchmark
from pagbench.errors import ContractError, PagbenchError
from pagbench.models import checks, devices, requests
from pagbench.models.loading import LoadedModel
from pagbench.results import Result, thumbnails, verification
from pagbench.results.preflight import Refusal
from pagbench.results.verification import Verification
from pagbench.running import provenance
from pagbench.running import thumbnails as running_thumbnails
from pagbench.running.config import RunConfig
from pagbench.running.runner import progress_bar
from pagbench.running.session import Session, guarded
from pagbench.submissions import bounded, checking, claims
from pagbench.submissions.claimed import Claim
from pagbench.submissions.comparison import TOLERANCE, compare, compare_maps
from pagbench.submissions.findings import refused

SAMPLES = 50
"""If a share p of the rows is wrong, n drawn ones show it with a probability of 1 - (1 - p)^n or more: p = .05, .92."""


@dataclass(frozen=True)
class Outcome:
    """What became of one claim.

    Attributes:
        claim: which results.
        record: the verdict, as it is kept beside the results file; None where there is none.
        flaw: why there is none: the model cannot be measured here.
    """

    claim: Claim
    record: Verification | None
    flaw: str = ""


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
    claimed: Sequence[Claim],
    *,
    seed: int,
    by: str,
    samples: int = SAMPLES,
    tolerance: float = TOLERANCE,
    batch_size: int | None = None,
    device: str = "auto",
    progress: bool = False,
) -> Iterator[Outcome]:
    """Verifies results one after the other; each record is kept as soon as it is known.

    Models of one benchmark are measured on the same images, whose targets are computed once. What is compared are
    per-sample values: means, intervals, ranks and regimes are never taken from a submission but computed from its rows.

    Args:
        claimed: what to verify, as `pagbench.submissions.claimed.find` returns it.
        seed: of the draw of the images; unknown to the submitter beforehand.
        by: who verifies, for the record.
        samples: how many images to measure again.
        tolerance: see `pagbench.submissions.comparison.compare`.
        batch_size: images at a time, as many as fit by default; does not change a row.
        device: auto, cpu, cuda, mps.
        progress: show a progress bar.

    Raises:
        ContractError: the device does not exist.
    """
    chosen = devices.choose_device(device)
    with progress_bar(progress) as bar:
        task = bar.add_task("", total=samples * len(claimed))
        done = 0
        for benchmark, group in groupby(sorted(claimed, key=_label), key=lambda claim: claim.benchmark):
            config = RunConfig(
                benchmark=benchmark,
                ids=draw(benchmark, samples, seed),
                device=chosen,
                seed=benchmark.seed,
                batch_size=batch_size,
            )
            rerun = _Rerun(config, tolerance)
            for claim in group:
                bar.update(task, description=str(claim))
                yield _outcome(rerun, claim, seed, by, lambda images: bar.advance(task, images))
                done += 1
                bar.update(task, completed=done * samples)


def _label(claim: Claim) -> str:
    return claim.benchmark.label


def _outcome(rerun: "_Rerun", claim: Claim, seed: int, by: str, advance: Callable[[int], None]) -> Outcome:
    """The verdict on one claim, kept beside its results; whatever is wrong with it does not stop the others."""
    try:
        digest = verification.sha256(claim.file)
        verdict = rerun.judge(claim, advance)
        reason = " ".join(verdict.reason.split())
        record = Verification(
            benchmark=claim.benchmark.label,
            model=claim.card.id,
            results_sha256=digest,
            weights_sha256=verdict.weights_sha256,
            samples=verdict.samples,
            seed=seed,
            verdict="refuted" if reason else "verified",
            reason=reason if len(reason) <= verification.LONGEST else f"{reason[: verification.LONGEST - 4]} ...",
            worst_column=verdict.worst_column,
            worst_difference=round(verdict.worst_difference, 3),
            by=by,
            when=provenance.now(),
            **provenance.environment(rerun.config.device),
        )
        verification.write(claim.file, record)
    except PagbenchError as error:
        return Outcome(claim, None, str(error))
    return Outcome(claim, record)


@dataclass(frozen=True)
class _Verdict:
    """What a rerun has found; no reason where the results are true."""

    reason: str
    weights_sha256: str
    samples: int = 0
    worst_column: str = ""
    worst_difference: float = 0.0


class _Rerun:
    """What the claims on one benchmark share: the drawn samples and their targets."""

    def __init__(self, config: RunConfig, tolerance: float) -> None:
        self.config, self._benchmark, self._tolerance = config, config.benchmark, tolerance
        self._session: Session | None = None

    def judge(self, claim: Claim, advance: Callable[[int], None]) -> _Verdict:
        """Looks at the file alone, then at the network, then measures.

        Raises:
            PagbenchError: the network cannot be loaded or measured here.
        """
        weights = claim.weights_sha256 or ""
        errors = [
            f for f in claims.findings(claim.file, claim.card, self._benchmark, weights or None) if f.level == "error"
        ]
        if errors:
            return _Verdict("; ".join(finding.message for finding in errors[:3]), weights)
        barred = [] if claim.submission is None else list(checking.loadable(claim.submission))
        if refused(barred):
            raise ContractError("; ".join(f"{f.subject}: {f.message}" for f in barred if f.level == "error"))
        result = bounded.read(claim.file, columns.schema(self._benchmark), len(self._benchmark.samples))
        (request,) = requests.resolve([claim.origin], self._benchmark)
        try:
            model = request.load(self._benchmark)
        except Refusal as refusal:
            return _Verdict(str(refusal), weights)
        with guarded(claim.card.id):
            different = self._other_network(model, result) or self._hidden_flag(model, result)
            if different:
                return _Verdict(different, model.weights_sha256)
            found = []
            for rows in self._measuring.rows(model, self.config.ids):
                found.append(rows)
                advance(len(rows))
            compared = compare(result.rows, pd.concat(found, ignore_index=True), self._benchmark, self._tolerance)
            reason = compared.reason or self._other_pictures(model, result)
        return _Verdict(
            reason, model.weights_sha256, len(self.config.ids), compared.worst_column, compared.worst_difference
        )

    @property
    def _measuring(self) -> Session:
        if self._session is None:
            self._session = Session(self.config)
        return self._session

    def _other_network(self, model: LoadedModel, result: Result) -> str:
        """Why the rows are another network's, or of other targets; empty where they can be this one's."""
        source = provenance.gather(model, self.config)
        return result.difference(source | {"networks": self._measuring.targets.networks})

    def _hidden_flag(self, model: LoadedModel, result: Result) -> str:
        """What costs the rank by a pre-flight made now, and did not by the one that is claimed; empty for controls."""
        if model.card.control:
            return ""
        size = self._measuring.first_batch
        fresh = checks.preflight(model, self._benchmark, device=self.config.device, batch_size=size)
        admitted = result.preflight is not None and result.preflight.costs_the_rank
        costs = fresh.verdict == "fail" or (fresh.costs_the_rank and not admitted)
        return f"pre-flight: {fresh.summary()}" if costs else ""

    def _other_pictures(self, model: LoadedModel, result: Result) -> str:
        """Which pictures of images and gradients are not this network's, all of them made anew; empty where none is.

        Raises:
            ResultsError: the pictures are damaged.
        """
        session, name, device = self._measuring, model.card.id, self.config.device
        for kept in (result.provenance.get("maps"), result.provenance.get("gallery")):
            claimed = thumbnails.decode(kept, name)
            if claimed is None:
                continue
            if not set(claimed.sample_ids) <= set(self._benchmark.samples):
                return "its pictures are of images that the benchmark does not have"
            shown = session.splits.test.select(claimed.sample_ids)
            target = session.targets.target
            made = running_thumbnails.gradients(
                model, shown, device=device, batch_size=session.first_batch, target=target
            )
            found = thumbnails.decode(made, name)
            if found is not None and (other := compare_maps(claimed, found)):
                return other
        return ""
