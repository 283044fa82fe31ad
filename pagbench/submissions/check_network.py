"""What runs in the sandbox: a submission's weights are read, its network is tried, its results are checked."""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pagbench import benchmarks, geometry, results
from pagbench.benchmarks import Benchmark
from pagbench.cards import ModelCard
from pagbench.data import Dataset
from pagbench.errors import PagbenchError, WeightsError
from pagbench.models import checks
from pagbench.models.registry import Request
from pagbench.storage import global_state, weights
from pagbench.submissions import check_results, folder
from pagbench.submissions.findings import Finding, refused
from pagbench.submissions.folder import CARD, PARAMETERS, RESULTS, TENSORS

_BATCH = 16
_REFUSING = ("accuracy", "batch", "derivatives")
"""Checks whose flag means that the network is not the one on the card, or its gradient not its own."""
_TOLERANCE = 1e-3
_TEMPERATURES = (0.5, 2.0)


def examine(root: str, label: str) -> Iterator[dict[str, Any]]:
    """The findings about a submission to a benchmark, as JSON values; stops at the first step with an error."""
    home, benchmark = Path(root), benchmarks.load(label)
    card = folder.read_card(home)
    steps: tuple[Callable[[], Iterator[Finding]], ...] = (
        lambda: iter([check_safetensors(folder.weights_path(card, home))]),
        lambda: _check_network(card, home, benchmark),
        lambda: iter(check_results.check_folder(home / RESULTS, card, folder.weights_sha256(card, home))),
    )
    for step in steps:
        findings = []
        for finding in step():
            findings.append(finding)
            yield asdict(finding)
        if refused(findings):
            return


def examine_results(root: str, label: str) -> Iterator[dict[str, Any]]:
    """The findings about the results alone, of a submission whose weights are under embargo; there must be some."""
    home, benchmark = Path(root), benchmarks.load(label)
    card = folder.read_card(home)
    if not results.path_of(home / RESULTS, benchmark, card.id).is_file():
        message = f"none on {label}: under embargo they are all there is; `pagbench submit run` measures them"
        yield asdict(Finding("error", RESULTS, message))
    for finding in check_results.check_folder(home / RESULTS, card, card.weights_sha256):
        yield asdict(finding)


def read_weights(root: str) -> Iterator[dict[str, Any]]:
    """The findings about a submission's file of weights alone, which is read whole."""
    card = folder.read_card(Path(root))
    path = folder.weights_path(card, Path(root))
    finding = check_safetensors(path)
    yield asdict(finding)
    if finding.level == "ok":
        weights.read(path, state_key=card.state_key, strip_prefix=card.strip_prefix)


def check_safetensors(path: Path) -> Finding:
    """Whether a file is safetensors, of no more tensors and values than a submission may have."""
    try:
        shapes = weights.shapes(path)
    except WeightsError as error:
        return Finding("error", path.name, str(error).removeprefix(f"{path}: "))
    values = sum(math.prod(shape) for shape in shapes.values())
    if not 0 < len(shapes) <= TENSORS or values > PARAMETERS:
        message = f"{len(shapes)} tensors of {values} values, expected 1 to {TENSORS} of at most {PARAMETERS}"
        return Finding("error", path.name, message)
    return Finding("ok", path.name, f"safetensors, {len(shapes)} tensors, {values} values")


def _check_network(card: ModelCard, root: Path, benchmark: Benchmark) -> Iterator[Finding]:
    try:
        model = Request(card, root / CARD).load(benchmark)
        parameters = sum(value.numel() for value in model.classifier.network.parameters())
        yield Finding("ok", "network", f"{card.architecture}, {parameters:,} parameters; holds these weights")
        preflight = checks.preflight(model, benchmark, device=torch.device("cpu"), batch_size=_BATCH)
    except PagbenchError as error:
        yield Finding("error", "network", str(error).removeprefix(f"{card.id}: "))
        return
    for check in preflight.checks:
        level = {"pass": "ok", "unknown": "ok", "flag": "warning", "fail": "error"}[check.verdict]
        if check.verdict == "flag" and check.name in _REFUSING:
            level = "error"
        message = check.found if check.verdict == "unknown" else check.sentence()
        if check.name == "training_accuracy" and card.training_accuracy is None:
            level = "warning"
            message = "none is declared, by which other weights, activations or preprocessing would show; add it"
        yield Finding(level, check.name, message)  # type: ignore[arg-type]
    if preflight.verdict != "fail":
        images = checks.probe(benchmark)
        images = images.select(images.ids[:_BATCH])
        yield check_added_term(model.classifier, images)
        yield check_temperature(model.classifier, images)


# What the strict gradient must not see: a term that all logits share, and, up to a known mixture, a temperature.


@global_state.known()
def check_added_term(network: nn.Module, images: Dataset) -> Finding:
    """Whether the log-odds gradient stays when the same c(x) is added to all logits, which changes no prediction.

    c is linear, with a slope as steep as the log-odds' and a value as large as the logits.
    """
    x, labels = images.images, images.labels
    logits, gradient = geometry.log_odds_gradient(network, x, labels)
    scored = gradient.flatten(1).isfinite().all(1)
    if not scored.any():
        return Finding("warning", "added c(x)", "no gradient can be scored; look at the check of gradients")
    slope, offset = gradient[scored].roll(1, 0).abs().mean(0), float(logits.abs().max())
    moved = geometry.log_odds_gradient(lambda x: add_term(network, x, slope, offset), x, labels).gradient
    return _judge("added c(x)", relative_change(gradient[scored], moved[scored]), "adding c(x) to all logits")


def add_term(
    network: nn.Module, x: Float[Tensor, "b c h w"], slope: Float[Tensor, "c h w"], offset: float
) -> Float[Tensor, "b k"]:
    """Logits + c(x) with c(x) = slope·x + offset."""
    logits: Tensor = network(x)
    return logits + (x * slope).flatten(1).sum(1, keepdim=True) + offset


@global_state.known()
def check_temperature(network: nn.Module, images: Dataset) -> Finding:
    """Whether a temperature T does to the gradient what it must, and how much it turns it.

    T·∇ log-odds(z/T) = ∇z_y - Σ_{j≠y} w_j ∇z_j with w = softmax over j≠y of z/T. For two classes it does not depend
    on T; for more, T weighs the rivals, and the direction may turn: alignment is that of the outputs as they are.
    """
    x, labels = images.images, images.labels
    logits, gradient = geometry.log_odds_gradient(network, x, labels)
    rivals = logits.scatter(1, labels[:, None], -torch.inf)
    worst, turned = 0.0, 1.0
    for temperature in _TEMPERATURES:
        weight = (rivals / temperature).softmax(1)

        def cool(x: Tensor, temperature: float = temperature) -> Tensor:
            return network(x) / temperature

        def mix(x: Tensor, weight: Tensor = weight) -> Tensor:
            """Two classes, Σ_j w_j z_j and z_y: the log-odds of the second is z_y - Σ_j w_j z_j."""
            z = network(x)
            return torch.stack([(weight * z).sum(1), z.gather(1, labels[:, None])[:, 0]], dim=1)

        cooled = temperature * geometry.log_odds_gradient(cool, x, labels).gradient
        expected = geometry.log_odds_gradient(mix, x, torch.ones_like(labels)).gradient
        scored = (cooled + expected + gradient).flatten(1).isfinite().all(1)
        if scored.any():
            worst = max(worst, relative_change(expected[scored], cooled[scored]))
            same = nn.functional.cosine_similarity(gradient[scored].flatten(1), cooled[scored].flatten(1))
            turned = min(turned, float(same.mean()))
    turn = f"mean cosine of at least {turned:.2f} with that at T = 1"
    return _judge("temperature", worst, f"dividing all logits by T = 0.5 or 2 ({turn})")


def relative_change(expected: Float[Tensor, "n c h w"], changed: Float[Tensor, "n c h w"]) -> float:
    """Largest relative difference of two gradients; one that is lost counts as wholly changed."""
    error = (changed - expected).flatten(1).norm(dim=1) / expected.flatten(1).norm(dim=1)
    return float(error.nan_to_num(nan=1.0).max())


def _judge(subject: str, change: float, what: str) -> Finding:
    message = f"{what} makes the log-odds gradient differ by {change:.1g} from what it must be"
    if change <= _TOLERANCE:
        return Finding("ok", subject, message)
    advice = "its logits are too large or too alike for float32; take what they share out of the last layer"
    return Finding("error", subject, f"{message}, at most {_TOLERANCE:g} is rounding; {advice}")
