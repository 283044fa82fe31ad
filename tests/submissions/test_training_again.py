"""Results of networks that are published without weights: a rerun trains them again, to the very hash of the card."""

import errno
import fcntl
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
import torch
import yaml
from typer.testing import CliRunner

from pagbench import results
from pagbench.cli import app
from pagbench.errors import TrainingError, WeightsError
from pagbench.models import registry
from pagbench.running import runner
from pagbench.storage import files
from pagbench.storage.files import sha256_of
from pagbench.submissions import verify as rerun
from pagbench.submissions.folder import CARD
from pagbench.training import Recipe, TrainingPlan, loop, model, train_model
from pagbench.training.model import plan_of

pytestmark = pytest.mark.usefixtures("short_preflight")

NAME, OTHER = "digits/noise-0.3.seed9", "digits/standard"


@pytest.fixture(scope="module")
def made(tmp_path_factory, digits):
    """A folder with the card of a network of two epochs, its weights, and its results on all digits."""
    home = tmp_path_factory.mktemp("made")
    plan = TrainingPlan(digits, "noise", 0.3, seed=9, prefix="digits", recipe=Recipe(epochs=2))
    card = train_model(plan, output=home)
    runner.run(card, benchmark=digits, results=home / "results", anchors=False, device="cpu")
    return home


@pytest.fixture
def published(made, tmp_path, monkeypatch):
    """The path of that network's card as one of the published, without weights; an empty cache."""
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "noise-0.3.seed9.yaml"
    path.write_text((made / path.name).read_text())
    known = registry._known() | {NAME: path}
    monkeypatch.setattr(registry, "_known", lambda: known)
    monkeypatch.setattr(registry, "shipped", lambda: known)
    return path


@pytest.fixture
def folder(made, tmp_path, digits):
    """A results folder with that network's results, and those of one whose weights are here."""
    home = tmp_path / "results"
    for name, source in ((NAME, made / "results"), (OTHER, results.PUBLISHED)):
        path = results.path_of(home, digits, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(results.path_of(source, digits, name).read_bytes())
    return home


def edit(path, **fields):
    """Changes fields of a card; none of them changes what the network does."""
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | fields))
    registry._read.cache_clear()


def verify(folder, *names, **options):
    found = [subject for name in names for subject in rerun.find_results(name, folder)]
    return list(rerun.verify(found, **{"seed": 5, "by": "a test", "samples": 4, "device": "cpu", **options}))


def kept(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache" / "trained").iterdir())


def forbid(monkeypatch):
    def fail(*given, **named):
        raise AssertionError("trained again")

    monkeypatch.setattr(model, "train", fail)


def other_machine(monkeypatch):
    """Rounds as another machine might: one weight has another last bit."""
    whole = model.train

    def train(network, *given, **named):
        whole(network, *given, **named)
        first = next(network.parameters())
        with torch.no_grad():
            first.view(-1)[0] = torch.nextafter(first.view(-1)[0], torch.tensor(9.0))
        return network

    monkeypatch.setattr(model, "train", train)


def test_missing_weights_are_trained_again_and_the_results_verified(folder, published, digits, tmp_path, capsys):
    threads = torch.get_num_threads()
    (outcome,) = verify(folder, NAME, progress=True)
    assert outcome.record.verdict == "verified", outcome
    card = registry.find(NAME).card
    assert outcome.record.weights_sha256 == card.weights_sha256
    assert kept(tmp_path) == [f"{card.weights_sha256}.safetensors"]
    assert [path.name for path in tmp_path.iterdir() if "seed9" in path.name] == [published.name]
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith(NAME) and "left:" not in line]
    assert said == [f"{NAME}: its weights are not here; training them again, a minute or less"]
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("made_by", ["2.0.1", "2.14.1+rocm", None])
def test_another_pytorch_is_named_before_the_training_ends(made_by, folder, published, monkeypatch, capsys):
    training = yaml.safe_load(published.read_text())["training"] | {"torch": made_by}
    edit(published, training={name: value for name, value in training.items() if value is not None})
    assert verify(folder, NAME, progress=True)[0].record.verdict == "verified"
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith(NAME) and "left:" not in line]
    other = f"; PyTorch {made_by} made them, and {torch.__version__} may make others" if made_by else ""
    assert said == [f"{NAME}: its weights are not here; training them again, a minute or less{other}"]


def test_nothing_is_said_where_no_progress_is_to_be_shown(folder, published, capsys):
    assert verify(folder, NAME)[0].record.verdict == "verified"
    assert capsys.readouterr() == ("", "")


def test_one_process_trains_while_another_waits_and_says_so(
    folder, made, published, tmp_path, digits, monkeypatch, capsys
):
    """The first is a thread here, that holds the lock until the second waits, and then has the weights."""
    forbid(monkeypatch)
    monkeypatch.setattr(files, "_WAIT_S", 0.0)
    whole, held, waits = rerun.train_again, threading.Event(), threading.Event()
    file = registry.trained_again(registry.find(NAME).card)

    def first():
        with files.file_lock(file.with_name(f".{file.stem}.lock")):
            held.set()
            waits.wait(30)
            file.write_bytes((made / "noise-0.3.seed9.safetensors").read_bytes())

    def second(request, plan, *, on_step, on_wait):
        def wait():
            on_wait()
            waits.set()

        whole(request, plan, on_step=on_step, on_wait=wait)

    monkeypatch.setattr(rerun, "train_again", second)
    other = threading.Thread(target=first)
    other.start()
    try:
        assert held.wait(30)
        (outcome,) = verify(folder, NAME, progress=True)
    finally:
        waits.set()
        other.join()
    assert outcome.record is not None and outcome.record.verdict == "verified", outcome
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith(NAME) and "left:" not in line]
    assert said == [f"{NAME}: waiting for another process that trains it"]
    assert kept(tmp_path) == [file.name]


def test_what_was_trained_again_is_kept_for_later_reruns_and_runs(folder, published, digits, tmp_path, monkeypatch):
    assert NAME not in registry.names() and registry.find(NAME).to_be_trained
    verify(folder, NAME)
    forbid(monkeypatch)
    (outcome,) = verify(folder, NAME)
    assert outcome.record.verdict == "verified"
    request = registry.find(NAME)
    assert request.has_weights and not request.to_be_trained
    assert request.load(digits).weights_sha256 == request.card.weights_sha256
    smoothed = registry.find(f"smoothed:0.1:4:{NAME}")
    assert smoothed.load(digits).weights_sha256 == request.card.weights_sha256


def test_weights_beside_the_card_count_before_those_of_the_cache(made, published):
    file = published.with_suffix(".safetensors")
    file.write_bytes((made / file.name).read_bytes())
    assert registry.find(NAME).weights_file == file


@pytest.mark.parametrize("content", [b"", b"cut short", "folder"])
def test_damaged_weights_in_the_cache_are_not_taken(content, folder, published, tmp_path):
    file = registry.trained_again(registry.find(NAME).card)
    file.parent.mkdir(parents=True)
    if content == "folder":
        file.mkdir()
    else:
        file.write_bytes(content)
    (outcome,) = verify(folder, NAME)
    if content == "folder":
        assert "cannot write it" in outcome.flaw and "\n" not in outcome.flaw
        assert outcome.flaw.endswith("; set PAGBENCH_CACHE to another folder")
    else:
        assert outcome.record.verdict == "verified" and sha256_of(file) == registry.find(NAME).card.weights_sha256


def test_other_weights_are_one_line_and_the_others_go_on(folder, published, tmp_path, monkeypatch):
    other_machine(monkeypatch)
    edit(published, training=yaml.safe_load(published.read_text())["training"] | {"torch": "2.0.1", "device": "cpu"})
    lost, other = verify(folder, NAME, OTHER)
    assert lost.record is None and "\n" not in lost.flaw
    expected = registry.find(NAME).card.weights_sha256
    assert lost.flaw.startswith(f"{NAME}: training again gives other weights than the card's, sha256 ")
    assert f"… instead of {expected[:12]}…, with PyTorch {torch.__version__}; " in lost.flaw
    assert "they were made on cpu by PyTorch 2.0.1" in lost.flaw
    assert lost.flaw.endswith("train on such a machine, or put noise-0.3.seed9.safetensors beside the card")
    assert other.record.verdict == "verified"
    assert kept(tmp_path) == []


def test_a_model_on_two_benchmarks_is_trained_once(folder, published, digits, monkeypatch):
    whole, trained = rerun.train_again, []

    def count(request, plan, **named):
        trained.append(plan.name)
        return whole(request, plan, **named)

    monkeypatch.setattr(rerun, "train_again", count)
    (subject,) = rerun.find_results(NAME, folder)
    outcomes = list(rerun.verify([subject, subject], seed=5, by="a test", samples=4, device="cpu"))
    assert [outcome.record.verdict for outcome in outcomes] == ["verified", "verified"]
    assert trained == ["noise-0.3.seed9"]


class Stopped(BaseException):
    """As an interrupt from the keyboard."""


def test_an_interrupted_training_leaves_a_checkpoint_and_goes_on_from_it(published, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(loop, "_REPORT_STEPS", 1)
    request = registry.find(NAME)

    def stop(done, total, loss):
        if done == 9:
            raise Stopped

    with pytest.raises(Stopped):
        model.train_again(request, plan_of(request.card), on_step=stop)
    assert kept(tmp_path) == [f".{request.card.weights_sha256}.noise-0.3.seed9.checkpoint"] and request.to_be_trained
    steps = []
    model.train_again(request, plan_of(request.card), on_step=lambda done, total, loss: steps.append(done))
    assert steps[0] == 9 and request.has_weights
    assert kept(tmp_path) == [f"{request.card.weights_sha256}.safetensors"]


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 17, "last"])
def test_a_killed_training_leaves_no_weights(step, published, tmp_path, digits):
    code = """
import os, signal, sys
from pathlib import Path
from pagbench.models import registry
from pagbench.training import loop, model
loop._CHECKPOINT_SECONDS, loop._REPORT_STEPS = 0.0, 1
def die(done, total, loss):
    if done == (total if sys.argv[2] == "last" else int(sys.argv[2])):
        os.kill(os.getpid(), signal.SIGKILL)
request = registry.find(sys.argv[1])
model.train_again(request, model.plan_of(request.card), on_step=die)
"""
    done = subprocess.run([sys.executable, "-c", code, str(published), str(step)], check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    request = registry.find(NAME)
    assert request.to_be_trained
    assert not [name for name in kept(tmp_path) if name.endswith((".safetensors", ".tmp"))]
    model.train_again(request, plan_of(request.card))
    assert request.has_weights and not list(tmp_path.glob("cache/trained/*.tmp"))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"training_command": None}, "cannot read the weights (No such file or directory); put the file there"),
        ({"training": {}}, "train them again with `pagbench train digits@1 --family noise --strength 0.3 --seed 9"),
        ({"training": {"split": "our own images"}}, "train them again with `pagbench train"),
        ({"training": {"split": "training split of nothing@1", "epochs": "many"}}, "train them again with `pagbench"),
    ],
)
def test_a_card_that_does_not_say_how_is_one_line(fields, said, folder, published, monkeypatch):
    forbid(monkeypatch)
    edit(published, **fields)
    (outcome,) = verify(folder, NAME)
    assert outcome.record is None and said in outcome.flaw and "\n" not in outcome.flaw


@pytest.mark.parametrize(
    "fields",
    [
        {"epochs": -1}, {"epochs": "many"}, {"epochs": 3.5}, {"optimiser": "newton"}, {"learning_rate": "nan?"},
        {"stored_as": "float8"}, {"split": "training split of ../../etc/passwd"}, {"note": "and more"}, {"clip": None},
    ],
)  # fmt: skip
def test_a_plan_is_read_back_from_a_card_or_not_at_all(fields, made, digits):
    card = registry.find(str(made / "noise-0.3.seed9.yaml")).card
    again = plan_of(card)
    assert again == TrainingPlan(digits, "noise", 0.3, seed=9, prefix="digits", recipe=Recipe(epochs=2))
    changed = {name: value for name, value in (card.training | fields).items() if value is not None}
    assert plan_of(card.model_copy(update={"training": changed})) is None


def test_a_plan_is_of_the_network_that_the_card_describes(made):
    card = registry.find(str(made / "noise-0.3.seed9.yaml")).card
    others = (
        {"family": "magic"}, {"strength": None}, {"strength": -1.0}, {"seed": 2**40}, {"architecture": "vgg"},
        {"id": "digits/renamed"}, {"id": "renamed"}, {"mean": (0.5,)}, {"dataset": "mnist"}, {"classes": 3},
    )  # fmt: skip
    for fields in others:
        assert plan_of(card.model_copy(update=fields)) is None, fields


def test_every_published_model_without_weights_says_how_it_is_trained():
    """So that a rerun can make them; the two words for it, fields and command, agree."""
    missing = [request for request in map(registry.find, registry.names()) if request.to_be_trained]
    for card in (request.card for request in missing):  # those of `noise` and `smoothing` share some files
        plan = plan_of(card)
        assert plan is not None and plan.name == card.id.rpartition("/")[2], card.id
        first, *options = plan.command.removeprefix("pagbench train ").split()
        said, *others = card.training_command.removeprefix("pagbench train ").split()
        assert options == others and said in (first, plan.benchmark.name), card.id


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits/standard.seed2", "digits/noise-0.6.seed1"])
def test_a_published_seed_is_trained_again_to_its_hash(name, tmp_path, monkeypatch):
    """On another machine, too, as far as it rounds alike; by another PyTorch nothing is promised."""
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path))
    request = registry.find(name)
    if (made_by := request.card.training["torch"]) != torch.__version__:
        pytest.skip(f"NOT TESTED: PyTorch {made_by} made the weights of {name}, and this is {torch.__version__}")
    assert request.to_be_trained
    model.train_again(request, plan_of(request.card))
    assert sha256_of(registry.trained_again(request.card)) == request.card.weights_sha256


def test_nothing_is_trained_that_others_have_submitted(folder, published, monkeypatch):
    forbid(monkeypatch)
    ours = {name: path for name, path in registry.shipped().items() if name != NAME}
    monkeypatch.setattr(registry, "shipped", lambda: ours)
    (outcome,) = verify(folder, NAME)
    assert outcome.record is None and "train them again with `pagbench train" in outcome.flaw


@pytest.fixture
def strange(published, tmp_path, monkeypatch):
    """A stranger's card under the published id, that asks for a million epochs, in the working folder."""
    monkeypatch.chdir(tmp_path)
    fields = yaml.safe_load(published.read_text())
    fields["training"]["epochs"] = 1000000
    fields["training_command"] = fields["training_command"].replace("--epochs 2", "--epochs 1000000")
    path = tmp_path / "evil" / "card9.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(fields))
    assert registry.find(str(path)).to_be_trained and plan_of(registry.find(str(path)).card) is not None
    return path


def test_a_card_of_a_published_id_at_another_path_is_not_trained(strange, made, folder, digits, monkeypatch):
    forbid(monkeypatch)
    request = registry.find(str(strange))
    file = results.path_of(made / "results", digits, NAME)
    for source in (strange, strange.relative_to(strange.parent.parent)):
        subject = rerun.Subject(file, request.card, str(source), request.card.weights_sha256, digits)
        (outcome,) = rerun.verify([subject], seed=5, by="a test", samples=4, device="cpu")
        assert outcome.record is None and "train them again with `pagbench train" in outcome.flaw


def test_the_results_folder_is_not_left_for_a_card_elsewhere(strange, made, folder, digits, monkeypatch):
    forbid(monkeypatch)
    content = results.path_of(made / "results", digits, NAME).read_bytes()
    for name in ("card9.yaml", "card9.yml", "card9"):
        strange.with_name(f"{name}.parquet").write_bytes(content)
        strange.with_name(name).write_bytes(strange.read_bytes())
    for target in (
        strange, strange.with_suffix(".yml"), strange.with_suffix(""), "../../evil/card9.yaml", "../../evil/card9",
        "./evil/card9.yaml", "~/evil/card9.yaml", f"smoothed:0.1:4:{strange}", "", ".", "/", f"{NAME}\n", f"{NAME}/",
    ):  # fmt: skip
        done = CliRunner().invoke(app, ["verify", str(target), "-r", str(folder), "-b", "digits@1", "--by", "me"])
        assert done.exit_code == 2 and "Traceback" not in done.output, target
        assert "neither a submission's folder nor a model's id" in done.stderr, (target, done.output)


def test_a_folder_that_is_named_as_a_model_with_results_is_not_read(strange, folder, digits):
    here = strange.parent.parent / NAME
    here.mkdir(parents=True)
    (here / CARD).write_bytes(strange.read_bytes())
    (subject,) = rerun.find_results(NAME, folder, digits)
    assert subject.file == results.path_of(folder, digits, NAME) and subject.source == NAME


@pytest.mark.parametrize("name", ["x.yaml", "x.yml", "deep/er/x.yaml"])
def test_no_name_of_a_results_file_leads_to_a_card_in_the_working_folder(name, strange, folder, digits, monkeypatch):
    forbid(monkeypatch)
    path = results.path_of(folder, digits, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(results.path_of(folder, digits, NAME).read_bytes())
    results.path_of(folder, digits, NAME).unlink()
    card = strange.parent.parent / name
    card.parent.mkdir(parents=True, exist_ok=True)
    card.write_bytes(strange.read_bytes())
    given = ["verify", "-r", str(folder), "--samples", "2", "--by", "me", "--device", "cpu", "--seed", "5"]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 2 and done.stdout.startswith(f"ok: {OTHER} on digits@1: verified")
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: {name}: neither a submission's folder nor a model's id")


def test_a_device_that_is_not_here_is_one_line(folder, published, monkeypatch):
    forbid(monkeypatch)
    edit(published, training=yaml.safe_load(published.read_text())["training"] | {"device": "quantum"})
    (outcome,) = verify(folder, NAME)
    assert "device 'quantum' is not usable here" in outcome.flaw and "\n" not in outcome.flaw


def test_a_cache_that_cannot_be_written_is_one_line(folder, published, tmp_path, monkeypatch):
    forbid(monkeypatch)
    (tmp_path / "cache").write_text("a file")
    (outcome,) = verify(folder, NAME)
    assert "cannot write there" in outcome.flaw and outcome.flaw.endswith("set PAGBENCH_CACHE to another folder")


def another_users(path, monkeypatch):
    def fail(folder):
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    monkeypatch.setattr(files, "can_lock", fail)


def a_folder_for_the_lock(path, monkeypatch):
    path.with_name(f".{path.stem}.lock").mkdir(parents=True)


def no_lock_to_be_had(path, monkeypatch):
    def flock(file, operation):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.parametrize("spoil", [another_users, a_folder_for_the_lock, no_lock_to_be_had])
def test_a_cache_whose_folder_cannot_be_locked_is_one_line_and_the_others_go_on(
    spoil, folder, published, tmp_path, monkeypatch
):
    forbid(monkeypatch)
    (tmp_path / "cache" / "trained").mkdir(parents=True)
    with monkeypatch.context() as spoilt:
        spoil(registry.trained_again(registry.find(NAME).card), spoilt)
        lost, other = verify(folder, NAME, OTHER)
    assert lost.flaw.startswith(f"{tmp_path / 'cache' / 'trained'}: cannot write there (")
    assert lost.flaw.endswith("); set PAGBENCH_CACHE to another folder") and "\n" not in lost.flaw
    assert other.record.verdict == "verified"


def test_a_disk_that_is_full_in_the_end_is_one_line_that_names_the_cache(folder, published, tmp_path, monkeypatch):
    def fill(path, content, *given, **named):
        raise OSError(errno.ENOSPC, "No space left on device")

    request = registry.find(NAME)
    with monkeypatch.context() as full:
        full.setattr("pathlib.Path.write_bytes", fill)
        (outcome,) = verify(folder, NAME)
    file = registry.trained_again(request.card)
    assert outcome.flaw.startswith(f"{file}: cannot write it (No space left on device); set PAGBENCH_CACHE to another")
    assert kept(tmp_path) == [f".{file.stem}.noise-0.3.seed9.checkpoint"]  # so that it goes on from there
    assert verify(folder, NAME)[0].record.verdict == "verified" and kept(tmp_path) == [file.name]


def say_threads(card, said):
    training = yaml.safe_load(card.read_text())["training"]
    del training["threads"]
    edit(card, training=training if said is None else training | {"threads": said})


NO_THREADS = [10**12, 2**63, 10**40, 1025, 0, -1, 2.5, True, "many", "8" * 500]


@pytest.mark.parametrize("said", NO_THREADS)
def test_a_number_of_threads_that_is_none_is_one_line_and_the_others_go_on(said, folder, published, monkeypatch):
    forbid(monkeypatch)
    say_threads(published, said)
    lost, other = verify(folder, NAME, OTHER)
    assert lost.flaw.startswith(f"{NAME}: field 'training.threads' is ") and len(lost.flaw) < 250
    assert lost.flaw.endswith(", expected a whole number from 1 to 1024; correct the card") and "\n" not in lost.flaw
    assert other.record.verdict == "verified"


@pytest.mark.parametrize("said", NO_THREADS)
def test_a_training_beside_a_card_bounds_its_threads_too(said, published, digits, monkeypatch):
    forbid(monkeypatch)
    say_threads(published, said)
    plan = TrainingPlan(digits, "noise", 0.3, seed=9, prefix="digits", recipe=Recipe(epochs=2))
    with pytest.raises(TrainingError, match="expected a whole number from 1 to 1024; correct the card"):
        train_model(plan, output=published.parent)


@pytest.mark.parametrize("said", [1, 2, 1024, None])
def test_as_many_threads_train_as_the_card_says(said, published, monkeypatch):
    """Sums over images are ordered by threads. Cards that do not say it are of one."""
    say_threads(published, said)
    seen = []

    def train(*given, **named):
        seen.append(torch.get_num_threads())
        raise Stopped

    monkeypatch.setattr(model, "train", train)
    request, before = registry.find(NAME), torch.get_num_threads()
    with pytest.raises(Stopped):
        model.train_again(request, plan_of(request.card))
    assert seen == [said or 1] and torch.get_num_threads() == before


def test_the_command_can_leave_training_out(folder, published, monkeypatch):
    forbid(monkeypatch)
    given = ["verify", NAME, OTHER, "-r", str(folder), "--samples", "2", "--by", "me", "--device", "cpu"]
    done = CliRunner().invoke(app, [*given, "--no-train", "--seed", "5"])
    assert done.exit_code == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: {NAME} on digits@1: not verified: {NAME}: cannot read the weights, for ")
    assert f"--prefix digits --output {published.parent} --device cpu`" in line
    assert done.stdout.startswith(f"ok: {OTHER} on digits@1: verified")


def test_a_run_names_the_command_that_makes_the_weights(published, tmp_path):
    done = CliRunner().invoke(app, ["run", NAME, "-b", "digits@1", "--limit", "2", "--results", str(tmp_path / "r")])
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.exit_code == 2 and "Traceback" not in done.output
    assert "train them again with `pagbench train digits@1 --family noise --strength 0.3 --seed 9 --epochs 2 " in line


def test_a_card_whose_folder_is_gone_is_one_line(published, digits):
    request = replace(registry.find(NAME), path=published.parent / "gone" / published.name)
    with pytest.raises(WeightsError, match="train them again with"):
        request.load(digits)
