"""`pagbench doctor`: what it says of a whole and of a broken installation, and that it connects to nothing."""

import errno
import json
import socket
import tempfile
import textwrap

import pytest
from typer.testing import CliRunner

from pagbench import benchmarks
from pagbench.cli import app
from pagbench.cli.diagnosis import Finding, Report, Section, examination, folders, installed, probing, readiness


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """Nothing is in the caches, and no Debian package is installed."""
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PAGBENCH_DATA", raising=False)
    monkeypatch.setattr("pagbench.data.idx._DEBIAN", tmp_path / "nowhere")
    readiness._numbers.cache_clear()
    return tmp_path / "cache"


@pytest.fixture
def package(monkeypatch, tmp_path):
    """Puts a package of some code before all others, for this process and for those that it starts."""

    def put(name, code):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(code))
        monkeypatch.syspath_prepend(tmp_path)

    return put


@pytest.fixture
def answers(monkeypatch):
    """Every step is well but for those that are given; no child is started."""

    def put(**errors):
        def ask(steps):
            found = {step: probing.Answer() for step in steps}
            well = {"state": "ok", "told": []}
            for step in steps:
                kind, _, name = step.partition(":")
                if kind != "import":
                    found[step] = probing.Answer({**well, "name": name or "auto takes"})
                if name in errors or kind in errors:
                    found[step] = probing.Answer(error=errors.get(name) or errors[kind])
            return found

        monkeypatch.setattr(probing, "ask", ask)

    return put


def run(*arguments):
    return CliRunner().invoke(app, ["doctor", *arguments])


def test_this_installation_runs_digits():
    """The one test of the whole, with real imports."""
    done = run("--benchmark", "digits", "--format", "json")
    report = json.loads(done.output)
    assert done.exit_code == 0, done.output
    assert report["healthy"] and report["ready"] == ["digits@1"]
    assert {"torch", "robustbench", "timm"} <= report["versions"].keys()
    assert [found["state"] for section in report["sections"] for found in section["findings"]].count("broken") == 0


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("raise OSError('libnothing.so: cannot open shared object file')", "OSError: libnothing.so"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import os; print('{}'); os._exit(7)", "exit status 7"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("import time; time.sleep(600)", "no end within 4 s"),
        ("import socket; socket.create_connection(('127.0.0.1', PORT), 1)", "connects to nothing"),
    ],
)
def test_whatever_a_package_does_is_one_answer_and_the_next_step_is_taken(package, code, told):
    with socket.create_server(("127.0.0.1", 0)) as server:
        package("odd", code.replace("PORT", str(server.getsockname()[1])))
        found = probing.ask(["import:odd", "import:json"], patience=4)
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert told in found["import:odd"].error and "\n" not in found["import:odd"].error
    assert found["import:json"] == probing.Answer()


def test_a_broken_torch_is_a_line_with_a_command(answers):
    answers(torch="ImportError: libcudart.so.12", device="ImportError: libcudart.so.12", benchmark="ImportError: torch")
    done = run()
    assert done.exit_code == 1 and "Traceback" not in done.output
    assert "cannot be imported: ImportError: libcudart.so.12" in " ".join(done.output.split())
    assert "$ pip install --force-reinstall 'torch" in done.output


def test_a_broken_robustbench_leaves_benchmarks_ready_and_the_exit_status_tells(answers):
    answers(robustbench="CardError: robustbench cannot be imported")
    done = run("--format", "json")
    report = json.loads(done.output)
    assert done.exit_code == 1 and not report["healthy"]
    assert report["ready"] == benchmarks.names()


def test_no_benchmark_ready_is_an_exit_status(answers):
    answers(benchmark="DataError: no")
    assert run().exit_code == 1
    answers()
    assert run().exit_code == 0


def test_an_unknown_benchmark_is_one_line(answers):
    answers()
    done = run("--benchmark", "cifar11")
    assert done.exit_code == 2 and "unknown benchmark 'cifar11'" in done.output


def test_packages_that_are_missing_or_too_old_come_with_pip(monkeypatch):
    asked = {"torch": "1.0", "numpy": None}
    real = installed._version
    monkeypatch.setattr(installed, "_version", lambda name: asked[name] if name in asked else real(name))
    found = {finding.name: finding for finding in installed.examine({})}
    assert found["torch"].state == "broken" and found["torch"].commands[0].startswith("pip install 'torch>=")
    assert found["numpy"].state == "missing" and "numpy" not in installed.versions()


def test_an_optional_package_may_be_missing(monkeypatch):
    real = installed._version
    monkeypatch.setattr(installed, "_version", lambda name: None if name == "ray" else real(name))
    found = {finding.name: finding for finding in installed.examine({})}
    assert found["ray"].state == "note" and "ray" not in installed.modules()


def test_benchmarks_say_where_their_data_and_networks_come_from(bare):
    found = {label: readiness.of(label) for label in benchmarks.names()}
    ready = {label for label, fields in found.items() if fields["state"] == "ok"}
    assert ready >= {"digits@1", "gaussians@1", "sphere@1", "samples-cifar10@1", "samples-imagenet@1"}
    assert "apt-get install dataset-fashion-mnist" in found["fashion-mnist@1"]["told"][0]
    assert found["cifar10@1"]["commands"] == ["pagbench fetch --benchmark cifar10@1"]
    assert str(bare / "data" / "cifar-10-batches-py") in found["cifar10@1"]["told"][0]
    paper = " ".join(found["cifar10-paper@1"]["told"])
    assert "ddpm-cifar10-32" in paper and "L2/Standard" in paper and "the first run trains" in paper
    assert str(bare / "adm") in found["imagenet@1"]["told"][1] and found["imagenet@1"]["state"] == "missing"


def test_a_reference_that_is_missing_leaves_the_benchmark_ready(bare):
    place = bare / "data" / "cifar-10-batches-py"
    place.mkdir(parents=True)
    assert "delete" in readiness.of("cifar10@1")["told"][0]  # an empty folder is no data set
    for name in ("test_batch", *(f"data_batch_{part}" for part in range(1, 6))):
        (place / name).touch()
    found = readiness.of("cifar10@1")
    assert found["state"] == "note" and "without it no regimes" in found["told"][0]


def test_pictures_that_are_missing_are_counted(bare):
    place = bare / "data" / "imagenet" / "val"
    (place / "n0").mkdir(parents=True)
    assert "1 class folders, expected 1,000" in readiness.of("imagenet@1")["told"][0]
    for index in range(1000):
        (place / f"n{index}").mkdir(exist_ok=True)
    readiness._numbers.cache_clear()
    assert "5000 of 5000 pictures" in readiness.of("imagenet@1")["told"][0]


def test_a_cache_that_cannot_be_written_is_told(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path / "file" / "cache"))
    cache, data, _, _ = folders.examine()
    assert cache.state == data.state == "note"
    assert "cannot be written" in cache.told[0] and "set PAGBENCH_CACHE" in cache.told[0]


def test_a_full_folder_of_temporary_files_is_told(monkeypatch, tmp_path, answers):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    real = tempfile.TemporaryFile

    def full(dir):
        if dir == tmp_path:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(dir=dir)

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    temporary = folders.examine()[2]
    assert temporary.state == "broken" and "No space left on device" in temporary.told[0]
    answers()
    assert run().exit_code == 1


def test_folders_are_left_as_they_were(bare):
    folders.examine()
    examination.computing.processor()
    assert not bare.exists()
    (bare / "sub").mkdir(parents=True)
    (bare / "sub" / "file").write_bytes(bytes(5000))
    assert "5.0 kB used" in folders.examine()[0].told[0]
    assert [path.name for path in bare.rglob("*")] == ["sub", "file"]


def test_offline_is_told(monkeypatch):
    monkeypatch.setenv("PAGBENCH_OFFLINE", "1")
    assert folders.examine()[3].state == "note"


def test_the_data_folder_is_the_one_that_runs_use(monkeypatch, bare, tmp_path):
    from pagbench.data import folder

    assert folders._data() == folder.root()
    monkeypatch.setenv("PAGBENCH_DATA", str(tmp_path / "elsewhere"))
    assert folders._data() == folder.root()


def test_the_text_fits_its_width_and_keeps_commands_whole():
    command = "pagbench fetch --benchmark " + 60 * "x"
    findings = (
        Finding("ok", "a"),
        Finding("ok", "b"),
        Finding("missing", "c", ("words " * 30,), (command,)),
    )
    text = Report("about", {}, (), Section("Benchmarks", findings)).to_text(60)
    assert "  ok       a, b\n" in text and f"$ {command}\n" in text
    assert all(len(line) <= 60 for line in text.splitlines() if "$" not in line)
