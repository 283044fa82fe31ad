"""Measures models again under every level; tables are kept as they are finished, so that a killed run goes on."""

import hashlib
from collections.abc import Callable, Sequence
from functools import cache as once
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from rich.progress import Progress
from torch import Tensor

from pagbench import geometry
from pagbench.benchmarks import Benchmark
from pagbench.cards import ManifoldCard
from pagbench.errors import ContractError, PagbenchError
from pagbench.measures.response import l1_change
from pagbench.models import registry
from pagbench.models.classifier import Classifier
from pagbench.models.smoothing import sampled
from pagbench.running import session
from pagbench.running.interrupts import CancelToken
from pagbench.studies.stability import similarities
from pagbench.studies.stability.blocks import Block, Blocks
from pagbench.studies.stability.factors import Alignment, Factor, Gradient, Response, Similarity, Variant
from pagbench.studies.stability.replicates import CHANCE, CORRECT, OFF, ON, TANGENT, VALUE, PublishedModel, key

_TOLERANCE = 2e-3
"""Largest difference between a value measured here and the published one, which has fewer digits."""


class Pass:
    """One classifier on one block; what several levels need is computed once.

    Args:
        classifier: the classifier.
        block: the images.
    """

    def __init__(self, classifier: Classifier, block: Block) -> None:
        self._classifier, self._block = classifier, block
        self._gradients: dict[Gradient, Tensor] = {}
        self._embedded: dict[tuple[Gradient, Similarity], Tensor] = {}
        self._responses: dict[tuple[ManifoldCard, int], tuple[Tensor, ...]] = {}

    @cached_property
    def _forward(self) -> geometry.ForwardPass:
        return geometry.ForwardPass(self._classifier, self._block.images, keep=True)

    @property
    def logits(self) -> Float[Tensor, "n classes"]:
        """Logits of the block."""
        return self._forward.logits

    def gradient(self, name: Gradient) -> Float[Tensor, "n c h w"]:
        """The gradient of one scalar of the logits; NaN where it is not scored."""
        forward, labels = self._forward, self._block.labels
        compute: dict[Gradient, Callable[[], Tensor]] = {
            "log-odds": lambda: forward.log_odds_gradient(labels),
            "sum of logits": forward.logit_sum_gradient,
            "log-sum-exp": forward.logsumexp_gradient,
            "logit of the label": lambda: forward.logit_gradient(labels),
            "logit of the prediction": lambda: forward.logit_gradient(forward.logits.argmax(dim=1)),
            "margin": lambda: forward.margin_gradient(labels),
            "log p": lambda: forward.log_probability_gradient(labels),
            "p": lambda: forward.probability_gradient(labels),
        }
        if name not in self._gradients:
            self._gradients[name] = compute[name]()
        return self._gradients[name]

    def alignment(self, variant: Alignment) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
        """Similarity with each image's target, and with its partner's."""
        key = (variant.gradient, variant.similarity)
        if key not in self._embedded:
            self._embedded[key] = similarities.embed(variant.similarity, self.gradient(variant.gradient))
        own, targets = self._embedded[key], self._block.embedded(variant.target, variant.similarity)
        partners = targets[self._block.partners(variant.seed)]
        chance = similarities.compare(variant.similarity, own, partners)
        return similarities.compare(variant.similarity, own, targets[: len(own)]), chance

    def tangent_energy(self, gradient: Gradient, manifold: ManifoldCard) -> Float[Tensor, "n"]:
        """Share of a gradient's energy in the tangent space."""
        return geometry.tangent_energy(self._block.bases[manifold], self.gradient(gradient))

    def responses(self, variant: Response) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
        """Mean responses to the first directions on and off the manifold, of the benchmark's length."""
        key = (variant.manifold, variant.seed)
        if key not in self._responses:
            epsilon = self._block.benchmark.epsilon
            assert epsilon is not None  # where there is a manifold
            moved = [
                geometry.moved_logits(self._classifier, self._block.images, steps, (epsilon,))[:, 0]
                for steps in self._block.steps(variant.manifold, variant.seed)
            ]
            self._responses[key] = tuple(l1_change(logits, self.logits[:, None]) for logits in moved)
        on, off = (response[:, : variant.directions].mean(dim=1) for response in self._responses[key])
        return on, off


def measure(classifier: Classifier, block: Block, factors: Sequence[Factor]) -> pd.DataFrame:
    """A classifier's row per image of a block, columns as `replicates.key` says; NaN: not scored.

    Raises:
        ContractError: the model returns what is no result.
    """
    with sampled(classifier, block.ids):
        passed = Pass(classifier, block)
        if not passed.logits.isfinite().all():
            raise ContractError(f"NaN or infinite outputs among samples {block.ids[0]} to {block.ids[-1]}")
        columns = {CORRECT: (passed.logits.argmax(dim=1) == block.labels).float()}
        for factor in factors:
            for level in factor.levels:
                quantities = _quantities(passed, block, factor, level.variant)
                columns |= {key(factor, level, quantity): value for quantity, value in quantities.items()}
    return pd.DataFrame({name: value.detach().cpu().numpy() for name, value in columns.items()}, index=list(block.ids))


def _quantities(passed: Pass, block: Block, factor: Factor, variant: Variant) -> dict[str, Float[Tensor, "n"]]:
    """What a level needs of the block; empty where that is in the published rows."""
    manifold = block.benchmark.manifold
    if isinstance(variant, Alignment):
        quantities = dict(zip((VALUE, CHANCE), passed.alignment(variant), strict=True))
        if factor.moves_regimes and manifold is not None and manifold in block.bases:
            quantities[TANGENT] = passed.tangent_energy(variant.gradient, manifold)
        return quantities
    if isinstance(variant, Response) and block.bases:
        responses = dict(zip((ON, OFF), passed.responses(variant), strict=True))
        return responses | {TANGENT: passed.tangent_energy("log-odds", variant.manifold)}
    return {}


def measure_all(
    blocks: Blocks, factors: Sequence[Factor], models: Sequence[PublishedModel], bar: Progress, stop: CancelToken
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Measures every model on every block, or reads what an earlier run has left.

    Args:
        blocks: the images.
        factors: whose levels can all be computed.
        models: of the results folder.
        bar: shows how far it is.
        stop: whether a signal has come.

    Returns:
        Tables by model, and a line for each model that cannot be measured.
    """
    task = bar.add_task("models", total=len(blocks.ids) * len(models))
    measured: dict[str, list[pd.DataFrame]] = {model.name: [] for model in models}
    failures: dict[str, str] = {}
    for number, ids in enumerate(blocks.parts):
        block = blocks.block(number, factors)
        for model in models:
            bar.update(task, description=model.name)
            if model.name not in failures:
                try:
                    measured[model.name].append(_table(model, block, blocks, factors))
                except PagbenchError as error:
                    failures[model.name] = str(error).removeprefix(f"{model.name}: ")
            bar.update(task, advance=len(ids))
            stop.check()
    tables = {}
    for model in models:
        if model.name not in failures:
            table = pd.concat(measured[model.name])
            if flaw := _difference(model, table, factors, blocks.benchmark):
                failures[model.name] = flaw
            else:
                tables[model.name] = table
    return tables, [f"{name}: {reason}" for name, reason in failures.items()]


def _table(model: PublishedModel, block: Block, blocks: Blocks, factors: Sequence[Factor]) -> pd.DataFrame:
    """The model's table of a block.

    Raises:
        PagbenchError: the model cannot be loaded, is another than its rows are of, or fails.
    """

    def compute() -> dict[str, Tensor]:
        (request,) = registry.resolve([model.name], block.benchmark)
        loaded = request.load(block.benchmark)
        if loaded.weights_sha256 != model.weights:
            here = loaded.weights_sha256[:12]
            raise ContractError(f"its rows are of weights {model.weights[:12]}, here are {here}")
        with session.guarded(model.name):
            table = measure(loaded.classifier.to(block.images.device), block, factors)
        return {str(name): torch.from_numpy(table[name].to_numpy(copy=True)) for name in table}

    columns = blocks.store.kept(
        ("sensitivity", _code(repr(factors)), model.name, model.weights), blocks.images(block.ids), compute
    )
    return pd.DataFrame({name: value.cpu().numpy() for name, value in columns.items()}, index=list(block.ids))


def _difference(model: PublishedModel, table: pd.DataFrame, factors: Sequence[Factor], benchmark: Benchmark) -> str:
    """How far what is measured here is from the published rows; empty where it is the same."""
    factor = next(factor for factor in factors if factor.ranking == "alignment")
    published = model.rows.loc[list(table.index), benchmark.alignment].to_numpy(float)
    here = table[key(factor, factor.published, VALUE)].to_numpy(float)
    difference = float(np.nan_to_num(np.abs(here - published)).max())
    if difference < _TOLERANCE:
        return ""
    return f"its {benchmark.alignment} differs from its published rows by {difference:.2g}"


@once
def _code(factors: str) -> str:
    """Hash of the code and of the factors that tables depend on, so that no change of either meets older ones."""
    digest = hashlib.sha256(factors.encode())
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()
