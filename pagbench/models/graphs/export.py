"""Writes a network as a graph: the graph, its weights, its probes, and a card that names them."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import torch
import yaml
from torch import nn

from pagbench.benchmarks import Benchmark
from pagbench.cards import GRAPHS, ModelCard
from pagbench.errors import GraphError, first_line
from pagbench.models import registry, wrappers
from pagbench.models.classifier import Classifier, raw_output
from pagbench.models.graphs import exported, network, probes
from pagbench.models.graphs.exported import Converted
from pagbench.models.graphs.probes import Probes
from pagbench.models.local_ids import clean
from pagbench.storage import files, weights

PROGRAMS = (".pt2",)
"""How files end that hold a network's graph in others' formats."""


class Exported(NamedTuple):
    """What was written.

    Attributes:
        card: the path of the card, its graph, weights and probes beside it.
        operations: how many the graph has.
        checked: what the comparison with the probes has found, in words.
    """

    card: Path
    operations: int
    checked: str


def export(model: str, benchmark: Benchmark, output: Path, given: Path | None = None) -> Exported:
    """Writes a network as `<name>.json`, `.safetensors`, `.probes.safetensors` and `.yaml`, named after the folder.

    Args:
        model: a function of a Python file or of an installed package, which is run; or a file of `PROGRAMS`, of which
            nothing is.
        benchmark: fixes shape and classes where the function does not give them.
        output: the folder.
        given: the network's probes, which a file needs; those of a function are made where none are given.

    Raises:
        GraphError: the network cannot be exported, or its graph is not allowed or computes something else.
        PagbenchError: the model cannot be found or built, or the disk refuses.
    """
    name = clean(output.resolve().name)
    if model.endswith(PROGRAMS):
        if given is None:
            raise GraphError(f"{model}: which network it should be is shown by probes; give them by --probes FILE")
        card = registry.own_card({"id": f"local/{name}", "title": name, "architecture": "graph"}, benchmark)
        converted = exported.read(files.at_home(model))
        expected = None
    else:
        request = registry.resolve_one(model, benchmark)
        if request.network is None or request.path is not None:
            raise GraphError(
                f"{model}: has no function that builds it; give path.py:function, or a file of torch.export"
            )
        card = request.card
        expected, converted = _traced(wrappers.plain(request.network).float(), card, model)
    assert card.input_shape and card.classes  # by the benchmark
    if given is not None or expected is None:
        expected = probes.read(files.at_home(given or ""), card.input_shape, card.classes)
    checked = probes.check(_built(converted, card, f"{name}.json"), expected)
    return Exported(_written(output, name, card, converted, expected), len(converted.graph.nodes), checked)


def _traced(module: nn.Module, card: ModelCard, model: str) -> tuple[Probes, Converted]:
    """The probes of a network, and its graph as PyTorch traces it."""
    assert card.input_shape  # by the benchmark
    classifier = Classifier(module, mean=card.mean, std=card.std)  # which freezes it
    raw_output(classifier, probes.noise(card.input_shape), model)
    images = classifier.prepare(probes.noise(card.input_shape))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.pt2"
        try:
            expected = probes.take(module, images)
            program = torch.export.export(module, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
            torch.export.save(program, path)
            try:
                converted = exported.read(path)
            except GraphError:  # it writes into its own values
                torch.export.save(program.run_decompositions({}), path)
                converted = exported.read(path)
            built = _built(converted, card, model)
            try:
                probes.check(built, expected)
            except GraphError:  # it writes into values of which no schema says that they share their memory
                torch.export.save(program.run_decompositions(), path)
                converted = exported.read(path)
            return expected, converted
        except GraphError as error:
            raise GraphError(str(error).replace(str(path), model)) from None
        except Exception as error:  # anyone's network may make it fail in any way
            raise GraphError(
                f"{model}: PyTorch cannot export it ({first_line(error)}); take out what depends on the values of "
                "images, or on the size of the batch"
            ) from None


def _built(converted: Converted, card: ModelCard, name: str) -> nn.Module:
    assert card.input_shape and card.classes  # by the benchmark
    return network.build(converted.graph, converted.state, card.input_shape, card.classes, name)


def _written(output: Path, name: str, card: ModelCard, converted: Converted, expected: Probes) -> Path:
    weights.make_folder(output)
    encoded = files.write(output / f"{name}.json", converted.graph.encoded())
    fields = card.model_dump(mode="json", exclude_defaults=True) | {
        "id": f"local/{name}",
        "architecture": f"{GRAPHS}{name}.json",
        "graph_sha256": files.sha256_of(encoded),
        "weights": f"{name}.safetensors",
        "weights_sha256": weights.write_tensors(converted.state, output / f"{name}.safetensors"),
    }
    written = ModelCard.parse_written(fields, f"the card of {name}")
    probes.write(expected, output / str(written.probes))
    content = {key: fields[key] for key in ModelCard.model_fields if key in fields}
    return files.write(output / f"{name}.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110))
