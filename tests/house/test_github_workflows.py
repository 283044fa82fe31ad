"""The workflows of `.github`, as far as they can be judged without running on GitHub."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import check_jsonschema
import pytest
import typer
import yaml
from click.testing import CliRunner

from pagbench.cli import app

ROOT = Path(__file__).parents[2]
PATHS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))
CONTACTS = ROOT / ".github/ISSUE_TEMPLATE/config.yml"
WORKFLOWS = [pytest.param(path, id=path.stem) for path in PATHS]
TRUSTED = {"actions", "lycheeverse", "pypa"}
"""Owners whose actions run here."""
MAY_WRITE = {
    ("pages", "deploy"): {"pages", "id-token"},
    ("release", "publish"): {"id-token"},
    ("submission-comment", None): {"pull-requests"},
}
"""What a workflow or a job of it may write; all others read."""


def read(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(workflow):
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def scripts(workflow):
    """The shell scripts, with a word in place of each of GitHub's expressions."""
    return [re.sub(r"\$\{\{.*?\}\}", "word", step["run"]) for step in steps(workflow) if "run" in step]


def calls(path, program):
    """The arguments of each call of a program, a line each; quoted texts and what is piped on do not count."""
    for text in scripts(read(path)):
        for line in text.splitlines():
            words = shlex.split(re.split(r"\s(?:\||2>&1|&&|;)", line)[0], comments=True) if program in line else []
            if program in words[:1]:
                yield words[1:]


SCHEMAS = {
    "github-workflows": PATHS,
    "github-issue-forms": sorted(set(FORMS) - {CONTACTS}),
    "github-issue-config": [CONTACTS],
    "dependabot": [ROOT / ".github/dependabot.yml"],
    "citation-file-format": [ROOT / "CITATION.cff"],
}


@pytest.mark.parametrize("schema", SCHEMAS)
def test_github_can_read_its_files(schema):
    paths = [str(path) for path in SCHEMAS[schema]]
    done = CliRunner().invoke(check_jsonschema.main, ["--builtin-schema", f"vendor.{schema}", *paths])
    assert done.exit_code == 0 and paths, done.output


def test_zizmor_finds_no_weakness():
    program = Path(sys.executable).with_name("zizmor")
    done = subprocess.run(
        [program, "--offline", "--no-progress", "--quiet", ROOT / ".github"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", WORKFLOWS)
def test_actions_are_pinned_by_commit_and_say_their_version(path):
    text = path.read_text(encoding="utf-8")
    used = re.findall(r"uses: *(.*)", text)
    assert used == [line for line in used if re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)]
    assert {line.partition("/")[0] for line in used} <= TRUSTED
    assert len(used) == sum("uses" in step for step in steps(read(path)))


def test_an_action_has_one_version():
    used = {line for path in PATHS for line in re.findall(r"uses: *(.*)", path.read_text(encoding="utf-8"))}
    assert len(used) == len({line.partition("@")[0] for line in used})


@pytest.mark.parametrize("path", WORKFLOWS)
def test_each_has_the_permissions_that_it_needs_and_an_end(path):
    workflow = read(path)
    held = {
        None: workflow["permissions"],
        **{name: job.get("permissions", {}) for name, job in workflow["jobs"].items()},
    }
    written = {
        (path.stem, name): {key for key, value in kinds.items() if value == "write"} for name, kinds in held.items()
    }
    assert {place: kinds for place, kinds in written.items() if kinds} == {
        place: kinds for place, kinds in MAY_WRITE.items() if place[0] == path.stem
    }
    assert all(0 < job["timeout-minutes"] <= 180 for job in workflow["jobs"].values())
    assert "concurrency" in workflow or path.stem == "submission-comment"  # each of its runs posts another report


@pytest.mark.parametrize("path", WORKFLOWS)
def test_no_checkout_leaves_a_token_and_no_script_holds_what_strangers_write(path):
    for step in steps(read(path)):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
        assert "${{" not in step.get("run", ""), "give it by env"


@pytest.mark.parametrize("path", WORKFLOWS)
def test_scripts_are_shell(path):
    for text in scripts(read(path)):
        done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", sorted(filter(Path.is_file, (ROOT / ".ci").iterdir())), ids=lambda path: path.name)
def test_scripts_of_ci_can_be_run(path):
    if path.suffix != ".py":
        assert os.access(path, os.X_OK) and "set -euo pipefail" in path.read_text(encoding="utf-8")
        assert subprocess.run(["bash", "-n", path], check=False).returncode == 0


def test_targets_and_scripts_exist():
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    made = {words[0] for path in PATHS for words in calls(path, "make")}
    assert {"test", "run", "test-all"} <= made <= set(targets)
    started = {name for path in PATHS for text in scripts(read(path)) for name in re.findall(r"\.ci/[\w.]+", text)}
    assert {".ci/wheel", ".ci/lowest"} <= started
    assert all((ROOT / name).is_file() for name in started)


def options(command):
    return {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("path", WORKFLOWS)
def test_commands_of_pagbench_exist(path):
    for words in calls(path, "pagbench"):
        command = typer.main.get_command(app)
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        assert {word for word in words if word.startswith("--")} <= options(command), words


def test_commands_are_found_in_scripts():
    """So that the tests above look at something."""
    named = [words[0] for path in PATHS for words in calls(path, "pagbench")]
    assert sorted(named) == ["site", "submit", "verify"]


def test_pre_commit_runs_what_make_test_runs():
    """The tools of `.venv`; hooks of others are pinned by commit."""
    repositories = read(ROOT / ".pre-commit-config.yaml")["repos"]
    own = [hook["entry"] for one in repositories if one["repo"] == "local" for hook in one["hooks"]]
    make = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert {"$(BIN)/ruff check", "$(BIN)/ruff format", "$(BIN)/mypy"} <= {
        entry.replace(".venv/bin", "$(BIN)").removesuffix(" --force-exclude") for entry in own
    }
    assert all(f"$(BIN)/{name}" in make for name in ("ruff check", "ruff format", "mypy"))
    revisions = [one["rev"] for one in repositories if one["repo"] != "local"]
    assert revisions and all(re.fullmatch("[0-9a-f]{40}", revision) for revision in revisions)


def test_addresses_are_those_of_the_project():
    """One repository, which pyproject.toml names."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    for path in (CONTACTS, ROOT / "CITATION.cff"):
        for address in re.findall(r"https://[\w./-]*pagbench[\w./-]*", path.read_text(encoding="utf-8")):
            assert address.startswith((urls["Source"], urls["Documentation"])), address
