"""What runs in the sandbox: a submission's weights are read, its network is tried, its results are checked."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pagbench import benchmarks, results
from pagbench.benchmarks import Benchmark
from pagbench.cards import ModelCard
from pagbench.errors import PagbenchError, WeightsError
from pagbench.models import checks, graphs
from pagbench.models.graphs import probes
from pagbench.models.graphs.network import GraphNetwork
from pagbench.models.registry import Request
from pagbench.storage import weights
from pagbench.submissions import check_results, folder
from pagbench.submissions.findings import Finding, refused
from pagbench.submissions.folder import CARD, PARAMETERS, RESULTS, TENSORS

_BATCH = 16
_REFUSING = ("accuracy", "batch", "derivatives", "precision")
"""Checks whose flag means that the network is not the one on the card, or its gradient not its own."""


def examine(root: str, label: str) -> Iterator[dict[str, Any]]:
    """The findings about a submission to a benchmark, as JSON values; stops at the first step with an error.

    Where its weights are kept back, the results alone are looked at, of which there must be some.
    """
    home, benchmark = Path(root), benchmarks.load(label)
    card = folder.read_card(home)
    measured = results.path_of(home / RESULTS, benchmark, card.id).is_file()
    steps: list[Callable[[], Iterable[Finding]]] = [
        lambda: check_results.check_folder(home / RESULTS, card, folder.weights_sha256(card, home))
    ]
    if folder.has_weights(card, home):
        steps = [
            lambda: [check_safetensors(folder.weights_path(card, home))],
            lambda: _check_network(card, home, benchmark),
            *steps,
        ]
    elif not measured:
        message = f"none on {label}: under embargo they are all there is; `pagbench submit run` measures them"
        yield asdict(Finding("error", RESULTS, message))
    for step in steps:
        findings = []
        for finding in step():
            findings.append(finding)
            yield asdict(finding)
        if refused(findings):
            return


def read_weights(root: str) -> Iterator[dict[str, Any]]:
    """The findings about a submission's file of weights alone, which is read whole."""
    card = folder.read_card(Path(root))
    path = folder.weights_path(card, Path(root))
    finding = check_safetensors(path)
    yield asdict(finding)
    if finding.level == "ok":
        state = weights.read(path, state_key=card.state_key, strip_prefix=card.strip_prefix)
        if card.graph is not None:
            yield asdict(_check_graph(card, Path(root), graphs.build_for(card, Path(root), state)))


def _check_graph(card: ModelCard, root: Path, network: nn.Module) -> Finding:
    """Whether a graph computes what its probes say."""
    try:
        return Finding("ok", "graph", probes.check_files(card, root, network))
    except PagbenchError as error:
        return Finding("error", "graph", str(error).removeprefix(f"{root}/"))


def _check_following(network: nn.Module) -> Iterator[Finding]:
    """Whether a graph's predictions may depend on the image where its gradient does not."""
    for module in network.modules():
        if isinstance(module, GraphNetwork) and module.lost:
            message = f"values of the image pass through {', '.join(module.lost)}: the gradient does not follow them"
            yield Finding("warning", "graph", message)


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
        if card.graph is not None:
            yield (finding := _check_graph(card, root, model.classifier.network))
            if finding.level == "error":
                return
            yield from _check_following(model.classifier.network)
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
