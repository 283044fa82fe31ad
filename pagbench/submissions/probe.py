"""What is tried on a submission's files in the confined process: bytes, then the network, then its results."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pagbench import benchmarks
from pagbench.benchmarks import Benchmark
from pagbench.cards import ModelCard, read_yaml
from pagbench.errors import PagbenchError
from pagbench.storage import downloads as fetching
from pagbench.storage.files import sha256_of
from pagbench.submissions import claims, containers
from pagbench.submissions.findings import Finding, refused
from pagbench.submissions.folder import CARD, RESULTS

_BATCH = 16
_REFUSING = ("accuracy", "batch", "derivatives")
"""Checks whose flag means that the network is not the one on the card, or its gradient not its own."""


def examine(folder: str, label: str) -> Iterator[dict[str, Any]]:
    """The findings about a submission to a benchmark, as JSON values; stops at the first step with an error."""
    root, definition = Path(folder), benchmarks.load(label)
    card = ModelCard.parse(read_yaml(root / CARD), CARD)
    steps: tuple[Callable[[], Iterator[Finding]], ...] = (
        lambda: _weights(card, root),
        lambda: _network(card, root, definition),
        lambda: iter(claims.of_folder(root / RESULTS, card, claims.weights_sha256(card, root))),
    )
    for step in steps:
        found = []
        for finding in step():
            found.append(finding)
            yield asdict(finding)
        if refused(found):
            return


def read_weights(folder: str) -> Iterator[dict[str, Any]]:
    """The findings about a submission's file of weights alone, which is read whole."""
    from pagbench.storage import weights

    root = Path(folder)
    card = ModelCard.parse(read_yaml(root / CARD), CARD)
    found = list(_weights(card, root))
    yield from map(asdict, found)
    if not refused(found):
        weights.read(_file(card, root), state_key=card.state_key, strip_prefix=card.strip_prefix)


def _file(card: ModelCard, root: Path) -> Path:
    return root / card.weights if card.weights else fetching.place((card.download or ())[0])


def _weights(card: ModelCard, root: Path) -> Iterator[Finding]:
    path = _file(card, root)
    expected = card.weights_sha256 or (card.download or ())[0].sha256
    found = sha256_of(path)
    if found != expected:
        yield Finding(
            "error", path.name, f"sha256 {found[:12]}…, the card says {str(expected)[:12]}…; correct the card"
        )
    else:
        yield from containers.look(path)


def _network(card: ModelCard, root: Path, benchmark: Benchmark) -> Iterator[Finding]:
    import torch

    from pagbench.models import checks, loading
    from pagbench.submissions import invariances

    try:
        model = loading.load(card, root / CARD, benchmark)
        parameters = sum(value.numel() for value in model.classifier.network.parameters())
        yield Finding("ok", "network", f"{card.architecture}, {parameters:,} parameters; holds these weights")
        made = checks.preflight(model, benchmark, device=torch.device("cpu"), batch_size=_BATCH)
    except PagbenchError as error:
        yield Finding("error", "network", str(error).removeprefix(f"{card.id}: "))
        return
    for check in made.checks:
        level = {"pass": "ok", "unknown": "ok", "flag": "warning", "fail": "error"}[check.verdict]
        if check.verdict == "flag" and check.name in _REFUSING:
            level = "error"
        said = check.found if check.verdict == "unknown" else check.sentence()
        yield Finding(level, check.name, said)  # type: ignore[arg-type]
    if made.verdict != "fail":
        some = checks.probe(benchmark)
        some = some.select(some.ids[:_BATCH])
        yield invariances.added_term(model.classifier, some)
        yield invariances.temperature(model.classifier, some)
