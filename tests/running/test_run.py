import dataclasses
import inspect
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import light
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from torch import nn

import pagbench
from pagbench import benchmarks, columns, measures, results
from pagbench.benchmarks import partners
from pagbench.cards import ManifoldCard, MixtureRecipe, ScoreCard
from pagbench.densities import mixture
from pagbench.errors import ContractError, DataError, MissingPackageError, ResultsError, UnknownNameError
from pagbench.measures import accuracy, calibration
from pagbench.models import checks, registry
from pagbench.results import StoragePath
from pagbench.results.preflight import Check, Preflight, Refusal
from pagbench.running import runner, session, target_files, targets, units
from pagbench.running.runner import RunError
from pagbench.storage import weights

pytestmark = pytest.mark.usefixtures("short_runs")
RESAMPLES = calibration._RESAMPLES

MODELS = ["digits/noise-0.6", "digits/smoothing-0.6"]
IDENTITY = ["benchmark", "version", "entrant", "family", "strength", "control", "seed", "sample_id", "label"]


def assert_same_rows(a, b):
    a, b = (rows.sort_values(["entrant", "sample_id"], ignore_index=True) for rows in (a, b))
    pd.testing.assert_frame_equal(a[IDENTITY], b[IDENTITY])
    measured = [name for name in a if name not in IDENTITY]
    np.testing.assert_allclose(a[measured], b[measured], rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def rows():
    return pagbench.run(MODELS, limit=12, batch_size=64, benchmark="digits@1")


@pytest.mark.parametrize("batch_size", [pytest.param(1, marks=pytest.mark.slow), 7])
def test_rows_do_not_depend_on_the_batch_size(rows, batch_size):
    assert_same_rows(pagbench.run(MODELS, limit=12, batch_size=batch_size, benchmark="digits@1"), rows)


def test_rows_do_not_depend_on_order(rows, digits, digits_splits, noise_trained, observe):
    ids = [digits.samples[i] for i in np.random.default_rng(1).permutation(12)]
    batch = targets.compute(digits, digits_splits, ids, seed=0, device=torch.device("cpu")).batch(ids)
    expected = rows[rows["entrant"] == "digits/noise-0.6"].set_index("sample_id").loc[ids]
    seen = observe(noise_trained, temperature=float(expected["temperature"].iloc[0]), batch=batch)
    for measure in digits.measures:
        for name, values in measures.load(measure)(seen).items():
            if not name.startswith("temperature"):
                np.testing.assert_allclose(values, expected[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_a_limited_run_is_completed_later_and_gives_the_same_rows(rows, tmp_path):
    pagbench.run(MODELS, limit=9, batch_size=4, results=tmp_path, benchmark="digits@1")
    assert_same_rows(pagbench.run(MODELS, limit=12, results=tmp_path, benchmark="digits@1"), rows)


def test_finished_rows_are_not_measured_again(tmp_path, monkeypatch):
    first = pagbench.run(MODELS, limit=4, results=tmp_path, benchmark="digits@1")
    monkeypatch.setattr(targets, "compute", lambda *args, **kwargs: pytest.fail("targets were computed again"))
    assert_same_rows(pagbench.run(MODELS, limit=4, results=tmp_path, benchmark="digits@1"), first)


def test_overwrite_measures_what_is_named_and_spares_the_anchors(tmp_path, digits):
    pagbench.run(MODELS[0], limit=4, results=tmp_path, benchmark="digits@1")
    with pytest.raises(RunError, match=r"seed 0 instead of 2.*another results folder"):
        pagbench.run(MODELS[0], limit=4, results=tmp_path, seed=2, benchmark="digits@1")
    with pytest.raises(RunError, match=r"control/bayes: .*seed 0 instead of 2") as caught:
        pagbench.run(MODELS[0], limit=4, results=tmp_path, seed=2, overwrite=True, benchmark="digits@1")
    assert set(caught.value.rows["seed"]) == {2}
    seeds = {result.name: result.provenance.seed for result in results.read_all(tmp_path, digits)}
    assert seeds == {"digits/noise-0.6": 2, "control/bayes": 0, "digits/standard": 0}


def test_overwriting_keeps_the_old_rows_until_there_are_new_ones(tmp_path, digits, digits_splits):
    poison = digits_splits.test.images[3]

    class Network(nn.Module):
        fragile = False

        def forward(self, x):
            if self.fragile and (x == poison).flatten(1).all(1).any():
                raise RuntimeError("broken")
            return x.flatten(1)[:, :10]

    network = Network()
    before = pagbench.run({"net": network}, limit=6, batch_size=2, results=tmp_path, benchmark="digits@1")
    network.fragile = True
    with pytest.raises(RunError, match="broken"):
        pagbench.run({"net": network}, limit=6, batch_size=2, results=tmp_path, overwrite=True, benchmark="digits@1")
    kept = [result for result in results.read_all(tmp_path, digits) if result.name == "net"]
    assert_same_rows(kept[0].rows, before[before["entrant"] == "net"])


def test_rows_of_a_network_with_the_same_weights_and_other_code_are_not_taken_for_its_own(tmp_path):
    class Scaled(nn.Module):
        def __init__(self, scale):
            super().__init__()
            self.scale = scale

        def forward(self, x):
            return self.scale * x.flatten(1)[:, :10]

    pagbench.run({"mine": Scaled(1.0)}, limit=2, results=tmp_path, benchmark="digits@1")
    with pytest.raises(RunError, match="other outputs on the probe images"):
        pagbench.run({"mine": Scaled(2.0)}, limit=2, results=tmp_path, benchmark="digits@1")


@pytest.mark.parametrize("name", ["control/bayes", "digits/standard", "digits/noise-0.6"])
def test_a_shipped_id_cannot_be_taken(name):
    with pytest.raises(ContractError, match=f"'{name}' is the id of a shipped model"):
        pagbench.run({name: nn.Flatten()}, limit=1, benchmark="digits@1")


@pytest.mark.parametrize("model", [3, {"mine": 3}])
def test_what_is_no_model_is_refused(model):
    with pytest.raises(ContractError, match="expected"):
        pagbench.run(model, limit=1, benchmark="digits@1")


def test_a_module_in_double_precision_is_measured_in_single(rows):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    single = pagbench.run({"net": network}, limit=3, benchmark="digits@1")
    double = pagbench.run({"net": network.double()}, limit=3, benchmark="digits@1")
    assert_same_rows(double, single)
    assert network[1].weight.dtype == torch.float64


@pytest.mark.slow
def test_kill_9_loses_no_finished_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "_RESAMPLES", RESAMPLES)  # as in the other process
    command = [sys.executable, "-m", "pagbench", "run", *MODELS, "--limit", "12", "--batch-size", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*command, "--results", str(tmp_path)], env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob(".*.parts/*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    survived = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    assert survived
    for path in survived:
        assert pq.read_table(path).num_rows
    completed = pagbench.run(MODELS, limit=12, results=tmp_path, benchmark="digits@1")
    assert_same_rows(completed, pagbench.run(MODELS, limit=12, benchmark="digits@1"))
    assert not list(tmp_path.rglob(".*.parts"))


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        return self.dropout(self.layer(x.flatten(1)))


def test_any_module_is_accepted_and_left_as_it_was():
    torch.manual_seed(0)
    module = Linear().train()
    rows = pagbench.run({"mine/linear": module}, limit=4, benchmark="digits@1")
    assert set(rows["entrant"]) == {"mine/linear", "control/bayes", "digits/standard"}
    assert module.training
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_one_failing_model_loses_no_other(tmp_path):
    class Broken(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :10] * torch.nan

    with pytest.raises(RunError, match=r"Broken: .*NaN") as caught:
        pagbench.run([Broken(), Linear()], limit=4, results=tmp_path, benchmark="digits@1")
    assert "Linear" in set(caught.value.rows["entrant"])
    assert (tmp_path / "digits@1" / "Linear.parquet").exists()


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda x: x.flatten(1)[:, :9], r"shape \(4, 9\), expected \(4, 10\)"),
        (lambda x: x.flatten(1)[:, :10].softmax(1), "outputs are probabilities, expected logits; return the logits"),
        (lambda x: x.flatten(1)[:, :10] * torch.nan, "NaN or infinite outputs"),
        (lambda x: x.flatten(1)[:, :10] + torch.rand(1), "two calls on the same images differ"),
        (lambda x: x.flatten(1)[:, :10].detach(), "does not depend differentiably"),
        (
            lambda x: x.reshape(7, -1),
            r"fails on images of shape .*\(RuntimeError: shape .*; bring the pixels to its shape",
        ),
        (lambda x: x.missing, r"\(AttributeError: .*'missing', test_run.py, line \d+\)$"),
        (lambda x: x, "expected a tensor of logits"),
    ],
)
def test_a_broken_contract_is_one_clear_line(forward, message):
    class Network(nn.Module):
        def forward(self, x):
            return forward(x)

    with pytest.raises(RunError, match=message) as caught:
        pagbench.run({"net": Network()}, limit=1, benchmark="digits@1")
    assert len(str(caught.value).splitlines()) == 1


def test_outputs_that_become_nan_on_some_image_are_refused(digits, digits_splits):
    unseen = next(i for i, name in enumerate(digits.samples) if name not in checks.probe(digits).ids)
    poison = digits_splits.test.images[unseen]

    class Network(nn.Module):
        def forward(self, x):
            bad = (x == poison).flatten(1).all(1, keepdim=True)
            return torch.where(bad, torch.nan, x.flatten(1)[:, :10])

    with pytest.raises(RunError, match="NaN or infinite outputs among samples"):
        pagbench.run({"net": Network()}, limit=unseen + 1, benchmark="digits@1")


def test_a_network_that_fails_in_mid_run_loses_neither_its_finished_batches_nor_the_others(
    tmp_path, digits, digits_splits
):
    assert digits.samples[3] not in checks.probe(digits).ids
    poison = digits_splits.test.images[3]

    class Fragile(nn.Module):
        def forward(self, x):
            if (x == poison).flatten(1).all(1).any():
                raise KeyError("third party's own words")
            return x.flatten(1)[:, :10]

    with pytest.raises(
        RunError, match=r"net: fails while it is measured \(KeyError: \"third party's own words\", test_run"
    ) as caught:
        pagbench.run({"net": Fragile()}, limit=6, batch_size=1, results=tmp_path, benchmark="digits@1")
    assert set(caught.value.rows["entrant"]) == {"control/bayes", "digits/standard"}
    assert isinstance(caught.value.__cause__, KeyError), "the user's own traceback"
    order = [name for name in partners.cycle(digits, digits.seed) if name in digits.samples[:6]]
    finished = order.index(digits.samples[3])
    assert finished and len(list((tmp_path / "digits@1" / ".net.parquet.parts").glob("*.parquet"))) == finished


@pytest.mark.parametrize(
    ("model", "label", "message"),
    [
        ("digits/standard", "cifar10@2", r"takes images of shape \(1, 8, 8\), cifar10@2 has \(3, 32, 32\)"),
        ("fashion-mnist/standard", "cifar10@1", r"takes images of shape \(1, 28, 28\), cifar10@1 has \(3, 32, 32\)"),
        ("madrylab/resnet18-l2-eps1", "cifar100@1", "has 1000 classes, cifar100@1 has 100"),
        ("smoothed:0.25:digits/standard", "fashion-mnist@2", r"shape \(1, 8, 8\), fashion-mnist@2 has \(1, 28, 28\)"),
        ("gaussians/standard", "digits@2", "has 4 classes, digits@2 has 10"),
    ],
)
def test_a_model_that_does_not_fit_is_told_before_any_data_are_fetched(model, label, message, monkeypatch):
    def fetched(benchmark):
        raise AssertionError(f"the data of {benchmark.label} were asked for")

    monkeypatch.setattr(session.data, "splits", fetched)
    with pytest.raises(RunError, match=message):
        pagbench.run(model, benchmark=label, limit=2)


def test_what_does_not_fit_is_told_where_the_data_of_the_others_are_missing(monkeypatch):
    def missing(benchmark):
        raise DataError("no such images")

    monkeypatch.setattr(session.data, "splits", missing)
    with pytest.raises(DataError) as caught:
        pagbench.run(["digits/standard", "control/bayes", "fashion-mnist/standard"], benchmark="cifar10@2", limit=2)
    *misfits, last = str(caught.value).splitlines()
    assert [line.partition(":")[0] for line in misfits] == ["digits/standard", "fashion-mnist/standard"]
    assert last == "no such images"


def test_two_models_of_one_name_are_refused():
    with pytest.raises(ContractError, match="two models are called 'digits/standard'"):
        pagbench.run(["digits/standard", "digits/standard"], benchmark="digits@1")


def test_results_of_another_definition_are_refused(tmp_path, digits):
    pagbench.run(limit=2, models=["control/bayes"], results=tmp_path, benchmark="digits@1")
    changed = digits.model_copy(update={"sigma": 0.8})
    with pytest.raises(ResultsError, match="measured on another definition of digits@1"):
        pagbench.leaderboard(tmp_path, benchmark=changed)
    with pytest.raises(ResultsError, match=r"no results of gaussians@1 \(it has digits@1\)"):
        pagbench.leaderboard(tmp_path, benchmark=benchmarks.load("gaussians"))


def test_numbers_of_two_autoencoders_are_not_mixed(tmp_path, digits, monkeypatch):
    """One that is trained where it is first needed differs between machines, though the definition is the same."""

    def trained_here(digest):
        record = {"manifold": {"weights_sha256": digest}}
        monkeypatch.setattr(targets.Computation, "records", lambda self: record)

    trained_here("a" * 64)
    pagbench.run("digits/standard", limit=2, results=tmp_path, benchmark="digits@1")
    pagbench.run("digits/noise-0.6", limit=2, results=tmp_path, benchmark="digits@1")
    assert len(pagbench.leaderboard(tmp_path, benchmark=digits)) == 3
    trained_here("b" * 64)
    with pytest.raises(RunError, match=r"noise-0\.6: .*manifold weights aaaaaaaaaaaa instead of bbbbbbbbbbbb"):
        pagbench.run("digits/noise-0.6", limit=4, results=tmp_path, benchmark="digits@1")
    with pytest.raises(ResultsError, match=r"its manifold has weights \w{12}, that of .* are not comparable") as caught:
        pagbench.run("digits/smoothing-0.6", limit=2, results=tmp_path, benchmark="digits@1")
    assert "\n" not in str(caught.value)
    with pytest.warns(UserWarning, match=r"left out: digits/smoothing-0\.6: its manifold .* are not comparable"):
        assert len(pagbench.leaderboard(tmp_path, benchmark=digits)) == 3


def test_numbers_of_two_fits_of_a_recipe_are_not_mixed(tmp_path, digits, monkeypatch):
    """Two machines may fit two mixtures by one definition: results say which, and no leaderboard takes both."""
    recipe = MixtureRecipe(components=2, rank=4, directions=32)
    manifold = ManifoldCard(kind="posterior-covariance", rank=4)
    fitted = digits.model_copy(update={"score": ScoreCard(kind="mixture", recipe=recipe), "manifold": manifold})
    folder = tmp_path / "results"

    def measure(name, machine, **options):
        monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path / machine))
        return pagbench.run(name, results=folder, benchmark=fitted, on_warning=lambda line: None, **options)

    measure("digits/standard", "a", limit=2)
    measure("digits/noise-0.6", "a", limit=2)
    (file,) = (tmp_path / "a").glob("fitted/*/mixture.safetensors")
    digest = weights.file_sha256(file)
    for result in results.read_all(folder, fitted):
        networks = result.document["networks"]
        assert networks["score"] == {"weights_sha256": digest, "sigma": digits.sigma, "sigma_used": digits.sigma}
    assert len(pagbench.leaderboard(folder, benchmark=fitted)) == 3
    monkeypatch.setattr(mixture, "_EM_STEPS", 2)
    with pytest.raises(RunError, match=rf"noise-0\.6: .*score weights {digest[:12]} instead of "):
        measure("digits/noise-0.6", "b", limit=4)
    with pytest.raises(ResultsError, match=r"its score has weights \w{12}, that of .* are not comparable"):
        measure("digits/smoothing-0.6", "b", limit=2)
    with pytest.warns(UserWarning, match=r"left out: digits/smoothing-0\.6: its score .* are not comparable"):
        assert len(pagbench.leaderboard(folder, benchmark=fitted)) == 3


def test_rows_of_another_revision_of_the_measures_are_refused(tmp_path, digits, monkeypatch):
    pagbench.run("control/bayes", limit=1, results=tmp_path, benchmark="digits@1")
    monkeypatch.setattr(columns, "REVISION", columns.REVISION + 1)
    with pytest.raises(ResultsError, match=r"measured by revision \d+ of the measures, this is \d+; run again"):
        pagbench.leaderboard(tmp_path, benchmark=digits)
    with pytest.raises(RunError, match=r"revision \d+ instead of \d+"):
        pagbench.run("control/bayes", limit=1, results=tmp_path, benchmark="digits@1")


def test_parquet_says_where_its_rows_come_from(tmp_path, digits):
    pagbench.run(["digits/noise-0.6"], limit=2, results=tmp_path, benchmark="digits@1")
    source = next(result.document for result in results.read_all(tmp_path, digits) if result.name == "digits/noise-0.6")
    assert [run["rows"] for run in source["runs"]] == [2]
    assert source["benchmark_digest"] == digits.digest()
    assert source["weights_sha256"] == source["card"]["weights_sha256"]
    assert {"torch", "python", "pagbench"} <= set(source["versions"])
    assert {"seed", "command", "device", "precision", "wall_seconds", "started", "commit"} <= set(source)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device: GPU rows against CPU rows")
def test_rows_on_a_gpu_are_those_of_the_cpu(rows):
    on_gpu = pagbench.run(MODELS, limit=12, device="cuda", benchmark="digits@1")
    measured = [name for name in rows if name not in IDENTITY]
    np.testing.assert_allclose(on_gpu[measured], rows[measured], rtol=1e-4, atol=2e-5)


def test_an_anchor_that_cannot_be_had_costs_the_regimes_and_nothing_else(rows, digits):
    """Named, the same model is a failure."""
    alone = digits.model_copy(update={"reference": "nobody/standard"})
    told = []
    found = pagbench.run(MODELS[0], benchmark=alone, limit=3, on_warning=told.append)
    assert set(found["entrant"]) == {MODELS[0], "control/bayes"}
    assert len(told) == 1 and "nobody/standard is not measured, and without it no regimes" in told[0]
    assert pagbench.leaderboard(found, benchmark=alone)["regime"].isna().all()
    with pytest.raises(UnknownNameError):
        pagbench.run("nobody/standard", benchmark=alone, limit=3)
    with pytest.warns(UserWarning, match="nobody/standard"):
        pagbench.run(MODELS[0], benchmark=alone, limit=1)


def test_an_anchor_whose_weights_are_missing_is_told_of(tmp_path, monkeypatch):
    found = registry.find("digits/standard").card
    card = found.model_copy(update={"id": "mine/standard", "weights": "gone.safetensors"})
    file = tmp_path / "card.yaml"
    file.write_text(yaml.safe_dump(card.model_dump(mode="json", exclude_none=True)))
    request = registry.Request(card, file)
    told = []
    unnamed = dataclasses.replace(request, explicit=False)
    monkeypatch.setattr(runner, "_with_anchors", lambda requested, benchmark, on_warning: [*requested, unnamed])
    rows = pagbench.run("control/bayes", limit=2, on_warning=told.append, benchmark="digits@1")
    assert set(rows["entrant"]) == {"control/bayes"}
    assert len(told) == 1 and "gone.safetensors" in told[0] and "without it no regimes" in told[0]
    with pytest.raises(RunError, match=r"gone\.safetensors"):
        pagbench.run(request, limit=2, anchors=False, benchmark="digits@1")


@pytest.mark.slow
def test_targets_that_are_too_many_to_keep_are_the_same(rows, monkeypatch):
    monkeypatch.setattr(targets, "_MEMORY", 0)
    monkeypatch.setattr(targets, "_CHUNK", 4)
    monkeypatch.setattr(target_files, "LARGEST", 0)
    assert_same_rows(pagbench.run(MODELS, limit=12, batch_size=10, benchmark="digits@1"), rows)


def test_batches_follow_the_cycle_of_partners(digits, digits_splits):
    """Each image is then computed and read about once instead of twice."""
    ids = digits.samples
    shared = targets.compute(digits, digits_splits, ids, seed=0, device=torch.device("cpu"))
    order = shared.ordered(ids)
    assert sorted(order) == sorted(ids)
    assert [shared.partner[name] for name in order] == [*order[1:], order[0]]
    assert [name for chunk in shared.chunks for name in chunk] == order


def test_an_anchor_that_fails_its_check_is_told_of_where_nobody_named_it(monkeypatch):
    check = units.UnitWorker._check
    failed = Preflight(checks=(Check(name="range", verdict="fail", found="NaN", expected="numbers", advice="none"),))

    def refuse(worker, unit, *others):
        if unit.request.card.id == "digits/standard":
            raise Refusal(unit.request.card.id, failed)
        return check(worker, unit, *others)

    monkeypatch.setattr(units.UnitWorker, "_check", refuse)
    told = []
    rows = pagbench.run(MODELS[0], limit=2, on_warning=told.append, benchmark="digits@1")
    assert set(rows["entrant"]) == {MODELS[0], "control/bayes"}
    assert len(told) == 1 and "digits/standard is not measured, and without it no regimes" in told[0]
    with pytest.raises(RunError, match="digits/standard"):
        pagbench.run("digits/standard", limit=2, benchmark="digits@1")


def test_at_most_eight_calls_lie_between_a_run_and_a_measure(monkeypatch):
    """Frames of this package only, both ends among them."""
    package, measure, depths = str(Path(pagbench.__file__).parent), accuracy.measure, []

    def counted(context):
        files = [frame.f_code.co_filename for frame, _ in traceback.walk_stack(sys._getframe().f_back)]
        depths.append(1 + sum(file.startswith(package) for file in files))  # this function stands for the measure
        return measure(context)

    monkeypatch.setattr(accuracy, "measure", counted)
    pagbench.run({"a": light.Linear(1)}, benchmark=light.benchmark(4), anchors=False)
    assert depths and max(depths) <= 8


def test_what_was_merged_here_is_not_read_again(tmp_path, monkeypatch):
    """Each shard is read once, for its digest; the merged file is not read at all by the run that wrote it."""
    names, read = [], StoragePath.read

    def recorded(path, *largest):
        content = read(path, *largest)
        names.append(path.name)
        return content

    monkeypatch.setattr(StoragePath, "read", recorded)
    small = light.benchmark(4)
    first = pagbench.run({"a": light.Linear(1)}, benchmark=small, anchors=False, batch_size=2, results=tmp_path)
    assert len(names) == len(set(names)) == 2 and "a.parquet" not in names
    again = pagbench.run({"a": light.Linear(1)}, benchmark=small, anchors=False, results=tmp_path)
    pd.testing.assert_frame_equal(again, first, check_exact=True)
    assert again.attrs == first.attrs


def test_a_measure_without_its_package_is_refused_before_anything_is_measured(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    with pytest.raises(MissingPackageError, match=r"^pyautoattack is not installed; .*'pagbench\[attacks\]'$"):
        pagbench.run(MODELS[0], measures=["adversarial"], results=tmp_path, benchmark="digits@1")
    assert not list(tmp_path.iterdir())


def test_older_keywords_are_understood_and_unknown_ones_refused():
    small, lines = light.benchmark(2).model_copy(update={"reference": "nobody/standard"}), []
    rows = pagbench.run(entrants={"a": light.Linear(1)}, benchmark=small, tell=lines.append)
    assert "a" in set(rows["entrant"]) and any("nobody/standard is not measured" in line for line in lines)
    with pytest.raises(TypeError, match="unexpected keyword argument 'model'"):
        pagbench.run(model="digits/standard", benchmark="digits@1")
    assert not inspect.getfullargspec(inspect.unwrap(pagbench.run)).varkw


@pytest.mark.parametrize(
    ("place", "keywords", "message"),
    [
        ([MODELS[0]], {"entrants": MODELS[1]}, "multiple values for argument 'models'"),
        ([], {"models": MODELS[0], "entrants": MODELS[1]}, "unexpected keyword argument 'entrants'"),
        ([MODELS[0]], {"on_warning": print, "tell": print}, "unexpected keyword argument 'tell'"),
    ],
)
def test_older_keywords_beside_their_newer_ones_are_refused(place, keywords, message):
    with pytest.raises(TypeError, match=message):
        pagbench.run(*place, **keywords)
