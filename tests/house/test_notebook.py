"""Everything from Python alone, as in a notebook: no command, no file but the results folder, no warning."""

import subprocess
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

import pagbench
from pagbench.errors import PagbenchError

PUBLIC = ["compare", "gradients", "leaderboard", "load_model", "load_results", "run", "splits"]
MODULES = ["benchmarks", "columns", "errors", "results", "training"]
ANCHORS = ["control/bayes", "digits/standard"]


def test_the_public_names_are_listed_and_cost_nothing_until_they_are_used():
    code = (
        "import pagbench, sys\n"
        "print(*dir(pagbench), pagbench.errors.ContractError.__name__)\n"
        "assert not {'torch', 'pandas', 'matplotlib'} & set(sys.modules), 'dir() has imported what it lists'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [*sorted(["__version__", *PUBLIC, *MODULES]), "ContractError"]
    assert all(callable(getattr(pagbench, name)) and getattr(pagbench, name).__doc__ for name in PUBLIC)
    with pytest.raises(AttributeError, match="no attribute 'gradient'"):
        _ = pagbench.gradient


def test_a_type_checker_and_the_interpreter_take_the_names_from_the_same_places():
    source = (
        Path(pagbench.__file__).read_text(encoding="utf-8").partition("if TYPE_CHECKING:\n")[2].partition("\n\n")[0]
    )
    lines = [line.split(maxsplit=3) for line in source.splitlines()]
    assert {name: home for _, home, _, names in lines for name in names.split(", ")} == pagbench._HOMES


@pytest.fixture(scope="module")
def network():
    """A small one, trained in a second on the images that a benchmark says are for that."""
    train = pagbench.splits("digits").train
    torch.manual_seed(0)
    trained = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 10))
    optimiser = torch.optim.AdamW(trained.parameters(), lr=0.01)
    for _ in range(150):
        some = torch.randint(len(train.images), (64,))
        loss = nn.functional.cross_entropy(trained(train.images[some]), train.labels[some])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return trained.eval()


def test_a_notebook_needs_nothing_else(network, short_runs, tmp_path):
    folder = tmp_path / "results"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = pagbench.run({"mine": network}, benchmark="digits", limit=32, results=folder)
        board = pagbench.leaderboard(rows)
        pair = pagbench.compare(rows, "mine", "digits/standard")
        figure = pagbench.gradients({"mine": network, "control/bayes": "control/bayes"}, "digits", samples=2)
        loaded = pagbench.load_results(folder)
        stored = pd.read_parquet(folder / "digits@2")
    models = [*ANCHORS, "mine"]
    assert sorted(board["model"]) == models and len(rows) == 3 * 32
    assert (board.set_index("model").loc["mine", ["n_total"]] == 32).all()
    assert set(pair["model_a"]) == {"mine"} and pair["difference"].notna().any()
    assert sorted(loaded["model"].unique()) == sorted(stored["entrant"].unique()) == models
    key = ["entrant", "sample_id"]
    same = [frame.sort_values(key, ignore_index=True) for frame in (rows, loaded.rename(columns={"model": "entrant"}))]
    pd.testing.assert_frame_equal(*same)
    pd.testing.assert_frame_equal(stored.sort_values(key, ignore_index=True), same[0], check_dtype=False)
    for other in (loaded, stored):
        again = pagbench.compare(other, "mine", "digits/standard")
        pd.testing.assert_frame_equal(
            again.drop(columns=["status_a", "status_b"]), pair.drop(columns=["status_a", "status_b"])
        )
    pd.testing.assert_frame_equal(pagbench.leaderboard(loaded), board)
    assert isinstance(figure, Figure) and figure._repr_png_().startswith(b"\x89PNG")
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert titles == ["image", "Bayes target", "mine", "control/bayes"] and len(figure.axes) == 8


def test_a_split_is_a_data_set_of_images_and_labels():
    splits = pagbench.splits("digits")
    train = splits.train
    assert repr(train) == "Dataset(1257 images, 1×8×8)" and repr(splits).startswith(
        f"Splits(train={train}, calibration="
    )
    image, label = train[-1]
    assert len(train) == 1257 and torch.equal(image, train.images[1256]) and label == train.labels[1256]
    ((images, labels),) = torch.utils.data.DataLoader(train, batch_size=2000)
    assert torch.equal(images, train.images) and torch.equal(labels, train.labels)


def test_one_model_of_a_folder_is_read_by_its_id(tmp_path):
    from pagbench.results import PUBLISHED

    one = pagbench.load_results(PUBLISHED, "sphere@1", "control/bayes")
    every = pagbench.load_results(PUBLISHED, "sphere@1")
    assert one["model"].unique().tolist() == ["control/bayes"]
    of_many = every[every["model"] == "control/bayes"].reset_index(drop=True)
    pd.testing.assert_frame_equal(one, of_many)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("nowhere",), "no results; measure a model with `pagbench run`"),
        ((), r"results of several benchmarks \(digits@1, digits@2, .*\); name one with benchmark="),
        (("", "sphere@1", "control/bayse"), "unknown model 'control/bayse'; closest: control/bayes"),
    ],
)
def test_what_cannot_be_read_is_one_line(arguments, line):
    from pagbench.results import PUBLISHED

    folder, *others = arguments or ("",)
    with pytest.raises(PagbenchError, match=line) as error:
        pagbench.load_results(PUBLISHED / folder if folder != "nowhere" else folder, *others)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"samples": 0}, "samples 0 is out of range; expected a whole number from 1"),
        ({"task": "painting"}, "unknown task 'painting'"),
        ({"models": "digits/standrd"}, "digits/standard"),
    ],
)
def test_a_figure_that_cannot_be_drawn_is_one_line(options, line):
    with pytest.raises(PagbenchError, match=line):
        pagbench.gradients(**{"models": "digits/standard", **options})


@pytest.mark.parametrize("call", [pagbench.run, pagbench.gradients])
@pytest.mark.parametrize(
    ("given", "line"),
    [
        (({},), "no models: the mapping is empty; give an id and a model"),
        (({"mine": lambda images: images},), "mine: a function is no network; wrap it in a torch.nn.Module"),
        ((nn.Linear,), "the class Linear is no network yet; call it"),
        ((nn.Linear(1, 1).state_dict(),), "a dict of tensors is no network; load it into its network"),
        (({"mine": {"weight": torch.ones(1)}},), "mine: a dict of tensors is no network"),
        ((nn.Linear(1, 1), ["digits"]), "benchmark of type list; expected one name"),
    ],
)
def test_what_is_no_model_or_no_benchmark_is_one_line(call, given, line):
    with pytest.raises(PagbenchError, match=line) as error:
        call(*given)
    assert "\n" not in str(error.value)


def test_an_error_of_ones_own_network_is_told_with_its_place():
    class Mine(nn.Module):
        def forward(self, x):
            raise ValueError("my bug")

    line = r"^mine: fails on images of shape .* \(ValueError: my bug, test_notebook.py, line \d+\)$"
    with pytest.raises(PagbenchError, match=line) as error:
        pagbench.gradients({"mine": Mine()}, "digits", samples=1)
    assert error.value.__cause__ is None and error.value.__suppress_context__, "one error, not two"
    with pytest.raises(PagbenchError, match=line) as error:
        pagbench.run({"mine": Mine()}, "digits", limit=1)
    assert isinstance(error.value.__cause__, ValueError)


def test_a_warning_names_the_line_of_the_user(short_runs):
    class Dull(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :10]

    with pytest.warns(UserWarning, match="dull: ") as found:
        pagbench.run({"dull": Dull()}, "digits", limit=32, anchors=False)
    assert {Path(warning.filename).name for warning in found} == {"test_notebook.py"}


@pytest.mark.parametrize("limit", [5.5, "all"])
def test_what_is_no_number_is_one_line(limit):
    with pytest.raises(PagbenchError, match=f"^limit {limit!r} is no whole number; expected 1 to"):
        pagbench.run("digits/standard", "digits", limit=limit)
    with pytest.raises(PagbenchError, match=f"^samples {limit!r} is out of range; expected a whole number from 1"):
        pagbench.gradients("digits/standard", samples=limit)
