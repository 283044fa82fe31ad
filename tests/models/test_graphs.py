"""A network of any architecture becomes a graph that computes the same, gradients too, and goes to the leaderboard."""

import copy
import json
import re
import runpy
import shlex
from pathlib import Path

import pytest
import torch
import torchvision
import yaml
from commands import assert_one_line, invoke
from graphs import CLASSES, SHAPE, Attention, Residual, Rough, network, silu_cnn, small
from safetensors.torch import load_file, save_file
from torch import nn

from pagbench import benchmarks
from pagbench.cards import ModelCard
from pagbench.errors import CardError, GraphError
from pagbench.models import registry
from pagbench.models.graphs import exported, graph, operators, probes
from pagbench.models.graphs.network import GraphNetwork, build
from pagbench.submissions import add, check, check_network, folder

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


def program(module, shape=SHAPE, **options):
    dynamic = {"dynamic_shapes": ({0: torch.export.Dim("batch")},)} | options
    return torch.export.export(module, (torch.rand(3, *shape),), **dynamic)


def saved(module, path, shape=SHAPE):
    torch.export.save(program(module, shape), path)
    return path


def round_trip(module, tmp_path, shape=SHAPE, decomposed=False):
    """The module of a graph that was written and read again."""
    made = program(module, shape)
    torch.export.save(made.run_decompositions({}) if decomposed else made, tmp_path / "n.pt2")
    converted = exported.read(tmp_path / "n.pt2")
    (tmp_path / "n.json").write_bytes(converted.graph.encoded())
    save_file(converted.state, tmp_path / "n.safetensors")
    read = graph.read(tmp_path / "n.json")
    assert read.encoded() == converted.graph.encoded()
    return build(read, load_file(tmp_path / "n.safetensors"), shape, CLASSES, "n.json")


def assert_same(module, built, shape=SHAPE, tolerance=0.0):
    images = torch.rand(5, *shape)
    found, expected = probes.take(built, images), probes.take(module, images)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
    alone = torch.cat([built(image[None]) for image in images])
    torch.testing.assert_close(alone, expected.outputs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("build_network", [silu_cnn, Residual, Attention])
def test_outputs_and_gradients_are_the_networks_own_to_the_bit(build_network, tmp_path):
    module = network(build_network)
    assert_same(module, round_trip(module, tmp_path))


def test_batch_norm_of_a_decomposed_program_is_batch_norm(tmp_path):
    module = network(Residual)
    built = round_trip(module, tmp_path, decomposed=True)
    assert "batch_norm.default" in {node.op for node in built.graph.nodes}
    assert_same(module, built, tolerance=1e-6)


def test_what_writes_into_shared_memory_is_taken_apart_by_pytorch_first(tmp_path):
    module = network(Rough)
    with pytest.raises(GraphError, match=r"writes into .* which shares its memory; save program\.run_decomposition"):
        round_trip(module, tmp_path)
    assert_same(module, round_trip(module, tmp_path, decomposed=True), tolerance=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "side"), [("resnet18", 32), ("mobilenet_v3_small", 32), ("vit_b_16", 224)])
def test_torchvisions_networks_are_graphs_to_the_bit(name, side, tmp_path):
    module = torchvision.models.get_model(name, num_classes=CLASSES).eval()
    assert_same(module, round_trip(module, tmp_path, (3, side, side)), (3, side, side))


def test_every_operation_is_pure():
    """None writes, draws, or lets values decide sizes; none takes more than one device."""
    assert len(operators.OPERATORS) > 170
    for op in operators.OPERATORS:
        declared = operators.schema(op)
        kinds = {str(argument.real_type) for argument in declared.arguments}
        assert not declared.is_mutable and not any("Generator" in kind or "Any" in kind for kind in kinds), op
        assert {str(value.type) for value in declared.returns} <= {"Tensor", "List[Tensor]", "int"}, op


def test_a_graph_is_a_module_like_others(tmp_path):
    """Copied, in other precisions, under functional transforms: as checks and measures use it."""
    module = network(Attention)
    built = copy.deepcopy(round_trip(module, tmp_path)).double()
    images = torch.rand(2, *SHAPE, dtype=torch.float64)
    torch.testing.assert_close(built(images), module.double()(images))
    jacobian = torch.func.jacrev(built)(images)
    assert jacobian.shape == (2, CLASSES, 2, *SHAPE) and not jacobian[0, :, 1].any(), "images do not meet"


def test_values_are_let_go_after_their_last_use():
    value, state = small()
    built = GraphNetwork(graph._graph(value), state, "n.json")
    assert [sorted(names) for names in built._dead] == [[], ["c.weight", "x"], ["c"], ["b", "s"], ["f", "l.weight"]]
    assert built(torch.rand(3, *SHAPE)).shape == (3, CLASSES)


def test_constants_lie_where_the_images_do():
    """A graph holds no device; `meta` stands for a GPU."""
    value, state = small()
    value["nodes"] += [
        {"op": "full.default", "args": {"size": [10], "fill_value": 2.0}, "out": ["two"]},
        {"op": "mul.Tensor", "args": {"self": "y", "other": "two"}, "out": ["z"]},
    ]
    value["output"] = "z"
    for device in ("cpu", "meta"):
        built = GraphNetwork(graph._graph(value), state, "n.json").to(device)
        assert built(torch.rand(3, *SHAPE, device=device)).device.type == device


PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "own-architecture.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
FILES = {re.match(r"# (\S+)", text)[1]: text for language, text in BLOCKS if language == "python"}
COMMANDS = [shlex.split(line) for language, text in BLOCKS if not language for line in text.splitlines()]


def follow(first, last):
    """Types the page's commands, from one that begins with some words to another."""
    starts = [index for index, words in enumerate(COMMANDS) if " ".join(words).startswith((first, last))]
    for program, *words in COMMANDS[starts[0] : starts[-1] + 1]:
        if program == "python":
            runpy.run_path(words[0])
        else:
            done = invoke(*words)
            assert done.exit_code == 0, done.output
            yield done.output


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder in which a reader has followed the page: a network of nobody's, exported, and made a submission."""
    home = tmp_path_factory.mktemp("graphs")
    for name, content in FILES.items():
        (home / name).write_text(content, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        exported, ran, *_ = follow("pagbench export waves.py", "pagbench submit init")
    assert re.match(r"\d+ operations; outputs and gradients are those of 4 probe images", exported)
    assert "results: results/digits@2" in ran
    return home


@pytest.fixture
def mine(home, tmp_path):
    """A copy of the submission."""
    for path in (home / "my-submission").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def found(root, function="examine"):
    arguments = ("digits",) if function == "examine" else ()
    return {finding["subject"]: finding for finding in getattr(check_network, function)(str(root), *arguments)}


def test_a_reader_goes_from_code_to_checked_files(home, monkeypatch):
    monkeypatch.chdir(home)
    monkeypatch.syspath_prepend(home)
    assert sorted(path.name for path in (home / "my-network").iterdir()) == [
        "my-network.json", "my-network.probes.safetensors", "my-network.safetensors", "my-network.yaml"
    ]  # fmt: skip
    checked, from_program = follow("pagbench submit check", "pagbench export my-program")
    assert "ok: graph: outputs and gradients are those of 4 probe images" in checked
    assert "(differences 0 and 0)" in from_program
    graphs = [(home / folder / f"{folder}.json").read_bytes() for folder in ("my-network", "from-program")]
    assert graphs[0] == graphs[1]


def test_a_function_gives_fields_of_the_card(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = {"mean": (0.5,), "std": (0.25,), "license": "MIT"}
    monkeypatch.setattr(registry.factories.Factory, "build", lambda self: (network(silu_cnn), given))
    Path("nets.py").touch()
    done = invoke("export", "nets.py:make", "--output", "own")
    assert done.exit_code == 0, done.output
    card = ModelCard.read(tmp_path / "own" / "own.yaml")
    assert (card.id, card.mean, card.std, card.license) == ("local/own", (0.5,), (0.25,), "MIT")
    assert load_file(tmp_path / "own" / str(card.probes))["images"].min() < -1, "normalised, as the network takes them"


def test_a_submission_with_its_graph_passes_the_checks(mine):
    findings = found(mine)
    assert not [finding for finding in findings.values() if finding["level"] == "error"], findings
    assert "outputs and gradients are those of 4 probe images" in findings["graph"]["message"]
    assert "derivatives" in findings and "batch" in findings
    assert found(mine, "read_weights")["graph"]["level"] == "ok", "before a rerun, too"


def test_another_graph_is_another_network(mine):
    card = ModelCard.read(mine / "model.yaml")
    other = card.model_copy(update={"graph_sha256": "0" * 64})
    assert card.functional_hash() != other.functional_hash(), "rows of one are not resumed with the other"
    (mine / "my-network.json").write_bytes(
        (mine / "my-network.json").read_bytes().replace(b"sin.default", b"cos.default")
    )
    assert "sha256" in found(mine)["network"]["message"]
    digest = folder.sha256_of(mine / "my-network.json")
    content = yaml.safe_load((mine / "model.yaml").read_text()) | {"graph_sha256": digest}
    (mine / "model.yaml").write_text(yaml.safe_dump(content))
    findings = found(mine)
    assert (findings["graph"]["level"], "accuracy" in findings) == ("error", False), "nothing else is tried"
    assert "the graph's outputs differ from those of the probes" in findings["graph"]["message"]


def test_a_step_in_a_graph_is_named_to_who_reads_the_submission(mine):
    """Predictions of one function with the gradient of another need one."""
    value = yaml.safe_load((mine / "my-network.json").read_text())
    value["nodes"] += [
        {"op": "round.default", "args": {"self": value["output"]}, "out": ["r"]},
        {"op": "mul.Scalar", "args": {"self": "r", "other": 0.0}, "out": ["n"]},
        {"op": "add.Tensor", "args": {"self": value["output"], "other": "n"}, "out": ["z"]},
    ]
    (mine / "my-network.json").write_text(json.dumps(value | {"output": "z"}))
    content = yaml.safe_load((mine / "model.yaml").read_text())
    content["graph_sha256"] = folder.sha256_of(mine / "my-network.json")
    (mine / "model.yaml").write_text(yaml.safe_dump(content))
    said = [finding for finding in check_network.examine(str(mine), "digits") if finding["subject"] == "graph"]
    assert [finding["level"] for finding in said] == ["ok", "warning"]
    assert said[1]["message"] == "values of the image pass through round: the gradient does not follow them"


def test_an_embargo_commits_to_the_graph_too(mine):
    before = ModelCard.read(mine / "model.yaml").model_copy(update={"embargo": True})
    assert check.broken_embargo(before, before) is None
    broken = check.broken_embargo(before, before.model_copy(update={"graph_sha256": "0" * 64}))
    assert (broken.subject, "names graph of sha256 000000000000" in broken.message) == ("graph_sha256", True)


def test_probes_with_other_gradients_are_refused(mine):
    """A gradient that the submitter's network has not, though its outputs are the same."""
    path = mine / "my-network.probes.safetensors"
    state = load_file(path)
    save_file(state | {"gradients": state["gradients"] * 1.01}, path)
    assert "the graph's gradients differ" in found(mine)["graph"]["message"]
    save_file({"images": state["images"]}, path)
    assert "expected images and gradients of shape (n, 1, 8, 8)" in found(mine)["graph"]["message"]
    save_file(state | {"outputs": state["outputs"] * torch.nan}, path)
    assert "other numbers than finite ones" in found(mine)["graph"]["message"]


def test_a_graph_and_its_probes_belong_to_a_submission(mine):
    card = ModelCard.read(mine / "model.yaml")
    assert not list(folder.check_names(mine, card))
    (mine / "leaderboard").mkdir()
    with add.staged(mine, mine / "leaderboard", benchmarks.load("digits"), card) as copy:
        assert {path.name for path in copy.iterdir()} == {path.name for path in mine.iterdir() if path.is_file()}
    (mine / "leaderboard").rmdir()
    (mine / "my-network.probes.safetensors").unlink()
    (mine / "my-network.json").write_bytes(b" " * (folder.GRAPH_BYTES + 1))
    large, missing = folder.check_names(mine, card)
    assert (large.subject, missing.subject) == ("my-network.json", "my-network.probes.safetensors")
    assert "`pagbench export` writes it" in missing.message


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"graph_sha256": None}, "go together"),
        ({"architecture": "small-cnn", "activation": "relu"}, "go together"),
        ({"architecture": "graph/a/b.json"}, "expected graph/<name>.json"),
        ({"architecture": "graph/my-network.pt2"}, "expected graph/<name>.json"),
        ({"architecture": "graph/../my-network.json"}, "field 'architecture'"),
        ({"activation": "relu"}, "has its own activation"),
    ],
)
def test_a_card_names_a_graph_beside_it(fields, said, mine):
    content = {**yaml.safe_load((mine / "model.yaml").read_text()), **fields}
    kept = {name: value for name, value in content.items() if value is not None}
    with pytest.raises(CardError, match=re.escape(said)):
        ModelCard.parse_written(kept, "x")


def test_a_program_needs_its_owners_probes(tmp_path, monkeypatch):
    """Nothing of it is run; that it is the network it should be, its owner's numbers show."""
    monkeypatch.chdir(tmp_path)
    module = network(silu_cnn)
    saved(module, "net.pt2")
    assert_one_line(invoke("export", "net.pt2"), "give them by --probes")
    probes.write(probes.take(module, torch.rand(2, *SHAPE)), Path("own.safetensors"))
    done = invoke("export", "net.pt2", "--probes", "own.safetensors", "--output", "net")
    assert done.exit_code == 0, done.output
    probes.write(probes.take(network(Residual), torch.rand(2, *SHAPE)), Path("own.safetensors"))
    assert_one_line(
        invoke("export", "net.pt2", "--probes", "own.safetensors"), "outputs differ from those of the probes"
    )


class Odd(nn.Module):
    def __init__(self, forward):
        super().__init__()
        self.layer, self.how = nn.Linear(64, CLASSES), forward

    def forward(self, x):
        return self.how(self.layer(x.flatten(1)), x)


def _behind_an_equation(y, x):
    same = torch.einsum("bk->bk", y)
    y.add_(1.0)
    return y * same


def test_memory_that_is_shared_in_secret_is_taken_apart_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = Odd(_behind_an_equation).eval()
    monkeypatch.setattr(registry.factories.Factory, "build", lambda self: (module, {}))
    Path("nets.py").touch()
    done = invoke("export", "nets.py:make", "--output", "own")
    assert done.exit_code == 0, done.output
    assert "outputs and gradients are those of 4 probe images" in done.output


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (lambda y, x: y if x.sum() > 0 else -y, "PyTorch cannot export it"),
        (lambda y, x: {"logits": y, "images": x * 1}, "a tensor of logits of shape (batch, classes)"),
        (lambda y, x: y[:3].reshape(3, 10), "PyTorch cannot export it"),
        (lambda y, x: y + torch.randn(10), "an operation that graphs may not have"),
        (lambda y, x: y.double(), "dtype is 'None'"),
        (lambda y, x: y[:, :9], "returns (1, 9) of 1 images, expected (1, 10)"),
    ],
)
def test_what_is_no_graph_is_said_in_a_line(how, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry.factories.Factory, "build", lambda self: (Odd(how), {}))
    Path("nets.py").touch()
    assert_one_line(invoke("export", "nets.py:make"), said)
    assert not (tmp_path / "exported").exists()


def test_a_fixed_batch_is_refused_with_what_to_do(tmp_path):
    torch.export.save(program(network(silu_cnn), dynamic_shapes=None), tmp_path / "n.pt2")
    converted = exported.read(tmp_path / "n.pt2")
    fixed = converted.graph._replace(nodes=[_fixed(node) for node in converted.graph.nodes])
    with pytest.raises(GraphError, match=r"on 1 images .* export it with a batch of any size: dynamic_shapes="):
        build(fixed, converted.state, SHAPE, CLASSES, "n.json")


def _fixed(node):
    """As of `view(3, 96)`."""
    flat = node.op == "flatten.using_ints"
    return graph.Node("reshape.default", {"self": node.args["self"], "shape": [3, 96]}, node.out) if flat else node


def test_other_things_are_not_exported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_one_line(invoke("export", "digits/standard", "--format", "graph"), "has no function that builds it")
    options = ("--weights", "w.safetensors", "--architecture", "graph/n.json", "--trained-on", "train")
    save_file({"w": torch.ones(1)}, "w.safetensors")
    done = invoke("submit", "init", "new", "--yes", *options, "--authors", "me", "--license", "MIT")
    assert_one_line(done, "n.json: cannot be read", "put what `pagbench export` wrote beside the weights")
    assert_one_line(invoke("export", "absent.pt2", "--probes", "p.safetensors"), "absent.pt2: cannot be read")
