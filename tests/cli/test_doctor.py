"""`pagbench doctor`: what it says of a whole and of a broken installation, and that it connects to nothing."""

import errno
import json
import socket
import sys
import tempfile
import textwrap

import pytest
from closed_forms import mixture_parameters
from commands import invoke

from pagbench import benchmarks
from pagbench.cli import doctor
from pagbench.cli.doctor import Finding
from pagbench.densities import mixture


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """Nothing is in the caches, and no Debian package is installed."""
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PAGBENCH_DATA", raising=False)
    monkeypatch.setattr("pagbench.data.idx._DEBIAN", tmp_path / "nowhere")
    return tmp_path / "cache"


@pytest.fixture
def torch_with(monkeypatch, tmp_path):
    """Puts a `torch` of some code before the real one, for the process that the command starts."""

    def put(code):
        (tmp_path / "torch.py").write_text(textwrap.dedent(code))
        monkeypatch.syspath_prepend(tmp_path)

    return put


@pytest.fixture
def answers(monkeypatch):
    """Findings of the child process, where it is not started."""

    def put(*findings):
        monkeypatch.setattr(doctor, "start_probe", lambda benchmark: None)
        monkeypatch.setattr(doctor, "receive", lambda probe, labels: [Finding("ok", "auto takes", ("cpu",)), *findings])

    return put


def test_this_installation_runs_digits():
    """The one test of the whole, with the real PyTorch."""
    done = invoke("doctor", "--benchmark", "digits", "--format", "json")
    report = json.loads(done.output)
    assert done.exit_code == 0, done.output
    assert report["healthy"] and report["ready"] == [benchmarks.load("digits").label] == ["digits@2"]
    assert {"torch", "robustbench", "timm"} <= report["versions"].keys()
    assert not [
        found for name in ("installed", "device", "folders") for found in report[name] if found["state"] == "broken"
    ]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise OSError('libnothing.so: cannot open shared object file')", "OSError: libnothing.so"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import os; print('{}'); os._exit(7)", "exit status 7"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("import time; time.sleep(600)", "does not end within 2 s"),
        ("import socket; socket.create_connection(('127.0.0.1', PORT), 1)", "connects to nothing"),
    ],
)
def test_whatever_pytorch_does_is_one_finding_for_each_benchmark(torch_with, code, message):
    with socket.create_server(("127.0.0.1", 0)) as server:
        torch_with(code.replace("PORT", str(server.getsockname()[1])))
        probe = doctor.start_probe("digits@1")
        device, benchmark = doctor.receive(probe, ["digits@1"], timeout=2 if "sleep" in code else 120)
        probe.kill()
        probe.communicate()
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert (device.state, benchmark.state, benchmark.name) == ("broken", "broken", "digits@1")
    assert message in device.messages[0] and "\n" not in device.messages[0]


def test_a_process_that_cannot_be_started_is_a_finding(monkeypatch):
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    device, benchmark = doctor.receive(doctor.start_probe("digits@1"), ["digits@1"])
    assert device.state == benchmark.state == "broken" and "cannot be started" in device.messages[0]


def test_a_broken_torch_is_a_line_with_a_command(torch_with):
    torch_with("raise ImportError('libcudart.so.12')")
    done = invoke("doctor", "--benchmark", "digits")
    assert done.exit_code == 1 and "Traceback" not in done.output
    assert "ImportError: libcudart.so.12" in done.output
    assert "$ pip install --force-reinstall torch" in done.output


def test_no_benchmark_ready_is_an_exit_status(answers):
    answers(Finding("broken", "digits@1", ("DataError: no",)))
    assert invoke("doctor").exit_code == 1
    answers(Finding("missing", "digits@1"))
    assert invoke("doctor").exit_code == 1
    answers(Finding("missing", "digits@1"), Finding("note", "sphere@1"))
    assert invoke("doctor").exit_code == 0


def test_an_unknown_benchmark_is_one_line(answers):
    done = invoke("doctor", "--benchmark", "cifar11")
    assert done.exit_code == 2 and "unknown benchmark 'cifar11'" in done.output


def test_packages_that_are_missing_come_with_pip(monkeypatch):
    known = {**doctor.versions(), "timm": None, "ray": None, "azula": None}
    monkeypatch.setattr(doctor, "versions", lambda: known)
    found = {finding.name: finding for finding in doctor.packages()}
    assert (found["timm"].state, found["timm"].commands) == ("missing", ("pip install timm",))
    assert (found["ray"].state, found["ray"].commands) == ("note", ("pip install 'pagbench[ray]'",))
    assert (found["azula"].state, found["azula"].commands) == ("note", ("pip install 'pagbench[diffusion]'",))
    assert f"torch {known['torch']}" in found["packages"].messages[0] and "timm" not in found["packages"].messages[0]


def test_benchmarks_say_where_their_data_and_networks_come_from(bare):
    found = {label: doctor.readiness(label) for label in benchmarks.names()}
    ready = {label for label, finding in found.items() if finding.state == "ok"}
    assert ready >= {"digits@1", "digits@2", "gaussians@1", "sphere@1", "samples-cifar10@1", "samples-imagenet@1"}
    assert "apt-get install dataset-fashion-mnist" in found["fashion-mnist@1"].messages[0]
    assert found["cifar10@1"].commands == ("pagbench fetch --benchmark cifar10@1",)
    for label in ("cifar10@2", "cifar100@2"):
        assert found[label].commands == (f"pagbench fetch --benchmark {label}",)
        assert found[label].messages[-1].startswith("its mixture, which the first run fits (")
    assert str(bare / "data" / "cifar-10-batches-py") in found["cifar10@1"].messages[0]
    paper = " ".join(found["cifar10-paper@1"].messages)
    assert "ddpm-cifar10-32" in paper and "L2/Standard" in paper and "the first run trains" in paper
    assert str(bare / "adm") in found["imagenet@1"].messages[1] and found["imagenet@1"].state == "missing"


def test_a_reference_that_is_missing_leaves_the_benchmark_ready(bare):
    folder = bare / "data" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    assert "delete" in doctor.readiness("cifar10@1").messages[0]  # an empty folder is no data set
    for name in ("test_batch", *(f"data_batch_{part}" for part in range(1, 6))):
        (folder / name).touch()
    found = doctor.readiness("cifar10@1")
    assert found.state == "note" and "without it no regimes" in found.messages[0]
    assert doctor.readiness("cifar10@2").state == "note"


def test_a_mixture_that_was_fitted_is_missed_no_more(bare):
    recipe = benchmarks.load("cifar10@2").score.recipe

    def missed():
        return [line for line in doctor.readiness("cifar10@2").messages if "its mixture" in line]

    for told in ({"recipe": {**recipe.model_dump(), "rank": 8}}, {"recipe": None}, {}):
        path = bare / "fitted" / str(len(told)) / "mixture.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        mixture.write(mixture_parameters(0), path, json.dumps(told))
        assert missed(), told
    mixture.write(mixture_parameters(0), path, json.dumps({"recipe": recipe.model_dump(), "images": "0" * 64}))
    assert not missed()


@pytest.mark.parametrize(
    ("package", "command", "fatal"),
    [
        ("diffusers", "pip install 'pagbench[diffusion]'", True),
        ("robustbench", "pip install 'pagbench[robustbench]'", False),
    ],
)
def test_packages_that_a_benchmark_needs_are_named_with_their_extra(bare, monkeypatch, package, command, fatal):
    before = doctor.readiness("cifar10-paper@1")
    monkeypatch.setitem(sys.modules, package, None)
    found = doctor.readiness("cifar10-paper@1")
    assert command in found.commands and command not in before.commands
    (line,) = set(found.messages) - set(before.messages)
    assert line.startswith(f"{package} is not installed")
    assert ("without it no regimes" in line) is not fatal


def test_pictures_that_are_missing_are_counted(bare):
    folder = bare / "data" / "imagenet" / "val"
    (folder / "n0").mkdir(parents=True)
    assert "1 class folders, expected 1,000" in doctor.readiness("imagenet@1").messages[0]
    for index in range(1000):
        (folder / f"n{index}").mkdir(exist_ok=True)
    assert "5000 of 5000 pictures" in doctor.readiness("imagenet@1").messages[0]


def test_a_cache_that_cannot_be_written_is_reported(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path / "file" / "cache"))
    _, cache, data, *_ = doctor.check_folders()
    assert cache.state == data.state == "note"
    assert "cannot be written" in cache.messages[0] and "set PAGBENCH_CACHE" in cache.messages[0]


def test_a_full_folder_of_temporary_files_is_broken(monkeypatch, tmp_path, answers):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    real = tempfile.TemporaryFile

    def full(dir):
        if dir == tmp_path:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(dir=dir)

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    temporary = {finding.name: finding for finding in doctor.check_folders()}["temporary"]
    assert temporary.state == "broken" and "No space left on device" in temporary.messages[0]
    answers(Finding("ok", "digits@1"))
    assert invoke("doctor").exit_code == 1


def test_folders_are_left_as_they_were(bare):
    (bare / "sub").mkdir(parents=True)
    list(doctor.check_folders())
    assert [path.name for path in bare.rglob("*")] == ["sub"]


def test_offline_is_reported(monkeypatch):
    monkeypatch.setenv("PAGBENCH_OFFLINE", "1")
    assert list(doctor.check_folders())[-1].state == "note"


def test_the_data_folder_is_the_one_that_runs_use(monkeypatch, bare, tmp_path):
    from pagbench.data import base

    monkeypatch.setenv("PAGBENCH_DATA", str(tmp_path / "elsewhere"))
    assert base.root() == tmp_path / "elsewhere"
    assert any(str(base.root()) in finding.messages[0] for finding in doctor.check_folders())


def test_the_text_fits_its_width_and_keeps_commands_whole():
    command = "pagbench fetch --benchmark " + 60 * "x"
    section = (Finding("ok", "a"), Finding("ok", "b"), Finding("missing", "c", ("words " * 30,), (command,)))
    lines = list(doctor.layout(section, 60))
    assert lines[0] == "  ok       a, b" and any(line.endswith(f"$ {command}") for line in lines)
    assert all(len(line) <= 60 for line in lines if "$" not in line)
