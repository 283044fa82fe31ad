"""What GitHub runs on a pull request of a submission: trusted code on untrusted data, and nothing else."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import typer
import yaml
from commands import invoke
from submissions import ID, change, make

from pagbench.cards import ModelCard
from pagbench.cli import app
from pagbench.submissions import changes
from pagbench.submissions.changes import ChangesError

GITHUB = Path(__file__).parent.parent.parent / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))


def parsed(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(path):
    return [step for job in parsed(path)["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_untrusted_code_meets_no_secret(path):
    text, workflow = path.read_text(encoding="utf-8"), parsed(path)
    triggers = workflow[True]  # YAML 1.1 reads `on` as a truth value
    assert "pull_request_target" not in triggers
    assert "secrets." not in text
    writes = [name for name, allowed in workflow["permissions"].items() if allowed == "write"]
    assert writes == (["pull-requests"] if "workflow_run" in triggers else [])
    for step in steps(path):
        assert "uses" not in step or re.search(r"@[0-9a-f]{40}$", step["uses"]), "pinned by its commit"
        assert "${{" not in step.get("run", ""), "what a stranger chooses comes by the environment, never by the text"


def test_only_the_base_branch_is_installed_and_nothing_that_can_write_checks_out():
    check, comment = (parsed(GITHUB / "workflows" / f"submission{suffix}.yml") for suffix in ("", "-comment"))
    listed = check["jobs"]["check"]["steps"]
    places = {step["with"]["path"]: step["with"]["ref"] for step in listed if "checkout" in step.get("uses", "")}
    assert places["trusted"] == "${{ github.event.pull_request.base.sha }}"
    installed = [line for step in listed for line in step.get("run", "").splitlines() if "pip install" in line]
    assert [line.split()[-1] for line in installed] == ["./trusted"]
    assert not [step for step in comment["jobs"]["comment"]["steps"] if "checkout" in step.get("uses", "")]
    assert comment[True]["workflow_run"]["workflows"] == [check["name"]]


def test_the_comment_trusts_no_run_of_a_request_that_changes_the_workflow():
    """The workflow of a request is the request's own; what is not laid down in it is which files it changes."""
    given = [step.get("with", {}) for step in steps(GITHUB / "workflows" / "submission-comment.yml")]
    (script,) = [inputs["script"] for inputs in given if "script" in inputs]
    asked, verdict = script.index("pulls.listFiles"), script.index("const verdict = !own ?")
    assert asked < verdict
    assert 'name.startsWith("leaderboard/submissions/")' in script[asked:verdict]
    assert "lstatSync" in script
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node: the script's syntax is not looked at")
    subprocess.run([node, "--check", "-"], input=f"async () => {{{script}}}".encode(), check=True, capture_output=True)


def commands(path):
    """Every call of pagbench in the steps, as words."""
    for step in steps(path):
        for line in step.get("run", "").splitlines():
            found = re.search(r"^\s*(pagbench [^|>]*?)(?: 2>&1)?(?: \||$)", line)
            if found:
                yield shlex.split(found[1])


def test_the_commands_and_options_that_workflows_run_exist():
    found = [words for path in WORKFLOWS for words in commands(path)]
    assert {tuple(words[1:3]) for words in found} >= {("submit", "check")}
    for _, *words in found:
        command = typer.main.get_command(app)
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= known


def test_the_form_asks_for_what_a_card_needs():
    fields = [
        part for part in parsed(GITHUB / "ISSUE_TEMPLATE" / "submit-model.yml")["body"] if part["type"] != "markdown"
    ]
    asked = {part["id"]: part.get("validations", {}).get("required", False) for part in fields}
    del asked["consent"]
    assert set(asked) <= set(ModelCard.model_fields)
    needed = {name for name, field in ModelCard.model_fields.items() if field.is_required()}
    needed |= {"dataset", "architecture", "download", "authors", "license", "trained_on"}
    assert needed <= {name for name, required in asked.items() if required}
    labels = {part["id"]: part["attributes"]["label"] for part in fields}
    assert all(labels[name] == name for name in asked), "the names are those of the card"


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with one submission, of which a branch is checked out."""
    for name in ("GIT_AUTHOR", "GIT_COMMITTER"):
        monkeypatch.setenv(f"{name}_NAME", "A. Newcomer")
        monkeypatch.setenv(f"{name}_EMAIL", "a@example.org")
    git(tmp_path, "init", "-q", "-b", "main")
    make(tmp_path / "leaderboard/submissions/digits@1/digits/before", id="digits/before", authors="Somebody")
    (tmp_path / "leaderboard/README.md").write_text("A board\n")
    commit(tmp_path)
    git(tmp_path, "switch", "-q", "-c", "branch")
    return tmp_path


def git(folder, *arguments):
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True)


def commit(folder):
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "A change")


def since_main(checkout):
    folders, findings = changes.submissions(checkout / "leaderboard", "main")
    return [path.relative_to(checkout).as_posix() for path in folders], findings


@pytest.mark.slow
def test_a_branch_that_adds_a_submission_is_checked(checkout):
    make(checkout / f"leaderboard/submissions/digits@1/{ID}")
    commit(checkout)
    assert since_main(checkout) == ([f"leaderboard/submissions/digits@1/{ID}"], [])
    done = invoke("submit", "check", "--since", "main", "--leaderboard", checkout / "leaderboard", "--offline")
    assert done.exit_code == 0, done.output
    assert f"ok: id: {ID} is in its place" in done.output
    assert f"submission: {checkout}/leaderboard/submissions/digits@1/{ID}" in done.output


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("leaderboard/README.md", "changes nothing but its own folder"),
        ("pagbench/cards/__init__.py", "changes nothing but its own folder"),
        (".github/workflows/submission.yml", "changes nothing but its own folder"),
        ("leaderboard/submissions/loose.txt", "changes nothing but its own folder"),
        (f"leaderboard/submissions/digits@1/{ID}/results/digits@1/{ID}.verified.json", "are for maintainers to write"),
        (f"leaderboard/submissions/digits@1/{ID}/_records/x.verified.json", "are for maintainers to write"),
    ],
)
def test_a_branch_that_touches_more_is_refused(checkout, path, reason):
    make(checkout / f"leaderboard/submissions/digits@1/{ID}")
    (checkout / path).parent.mkdir(parents=True, exist_ok=True)
    (checkout / path).write_text("{}")
    commit(checkout)
    _, (finding,) = since_main(checkout)
    assert (finding.level, finding.subject) == ("error", path)
    assert reason in finding.message
    done = invoke("submit", "check", "--since", "main", "--leaderboard", checkout / "leaderboard", "--offline")
    assert done.exit_code == 1
    assert done.output.splitlines() == [str(finding)], "nothing of it is opened"


def test_a_branch_that_plays_a_repository_is_not_taken_for_one(checkout):
    """Git takes a folder with HEAD, objects and refs for a repository, and runs what its configuration says."""
    make(checkout / f"leaderboard/submissions/digits@1/{ID}")
    for name in ("HEAD", "config", "objects/info/x", "refs/heads/main"):
        (checkout / "leaderboard" / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / "leaderboard" / name).write_text("ref: refs/heads/main\n" if name == "HEAD" else "")
    commit(checkout)
    _, findings = since_main(checkout)
    assert {finding.subject for finding in findings if finding.level == "error"} == {
        "leaderboard/HEAD", "leaderboard/config", "leaderboard/objects/info/x", "leaderboard/refs/heads/main"
    }  # fmt: skip


def test_a_leaderboard_that_is_a_link_to_another_checkout_is_refused(checkout, tmp_path_factory):
    other = tmp_path_factory.mktemp("trusted") / "checkout"
    git(checkout, "clone", "-q", "-b", "main", str(checkout), str(other))
    shutil.rmtree(checkout / "leaderboard")
    (checkout / "leaderboard").symlink_to(other / "leaderboard")
    commit(checkout)
    with pytest.raises(ChangesError, match="a symbolic link"):
        since_main(checkout)


def test_a_branch_that_changes_nothing_is_told(checkout):
    """An exit status of 0 would call a submission checked that is not committed yet."""
    make(checkout / f"leaderboard/submissions/digits@1/{ID}")
    folders, (finding,) = since_main(checkout)
    assert (folders, finding.level) == ([], "error")
    assert "nothing is committed since main" in finding.message


def test_a_name_that_is_no_text_is_checked_like_any_other(checkout):
    make(Path(os.fsdecode(bytes(checkout / "leaderboard/submissions/digits@1/digits") + b"/new\xff")))
    commit(checkout)
    done = invoke("submit", "check", "--since", "main", "--leaderboard", checkout / "leaderboard", "--offline")
    assert done.exit_code == 1
    assert f"error: id: '{ID}' on digits@1 belongs in digits@1/{ID}" in done.output


@pytest.mark.parametrize("remeasured", [True, False])
@pytest.mark.parametrize("folder", ["_records", "."])
def test_a_record_goes_only_with_the_results_that_it_speaks_of(checkout, folder, remeasured):
    """Who is refuted may measure again, but not delete the verdict, which older versions wrote beside the results."""
    place = checkout / f"leaderboard/submissions/digits@1/digits/before/results/digits@1/{ID}"
    place.parent.mkdir(parents=True)
    record, rows = place.parent / folder / f"{place.name}.verified.json", place.with_suffix(".parquet")
    record.parent.mkdir(exist_ok=True)
    record.write_text("{}")
    rows.write_text("old")
    git(checkout, "switch", "-q", "main")
    commit(checkout)
    git(checkout, "switch", "-q", "-C", "branch")
    record.unlink()
    if remeasured:
        rows.write_text("new")
    commit(checkout)
    _, findings = since_main(checkout)
    assert [finding.level for finding in findings] == (["warning"] if remeasured else ["error"])


@pytest.mark.parametrize(
    ("changed", "level"), [({"authors": "A thief"}, "error"), ({"title": "Better"}, "warning"), (None, "warning")]
)
def test_somebodys_submission_is_not_changed_in_silence(checkout, changed, level):
    root = checkout / "leaderboard/submissions/digits@1/digits/before"
    if changed is None:
        git(checkout, "rm", "-rq", str(root))
    else:
        change(root, **changed)
    commit(checkout)
    _, (finding,) = since_main(checkout)
    assert finding.level == level
    assert "a submission of Somebody" in finding.message


def test_a_submission_in_another_place_than_its_id_says_is_refused(checkout):
    make(checkout / "leaderboard/submissions/digits@1/digits/elsewhere")
    commit(checkout)
    done = invoke("submit", "check", "--since", "main", "--leaderboard", checkout / "leaderboard", "--offline")
    assert done.exit_code == 1
    assert f"error: id: '{ID}' on digits@1 belongs in digits@1/{ID}" in done.output


@pytest.mark.parametrize("revision", ["no-such-branch", "--output=canary"])
def test_a_revision_that_is_none_is_told_in_one_line(checkout, revision):
    with pytest.raises(ChangesError) as refused:
        changes.submissions(checkout / "leaderboard", revision)
    assert "\n" not in str(refused.value)
    assert not (checkout / "canary").exists()


def test_a_branch_of_paths_or_a_card_without_end_is_not_read(checkout, monkeypatch):
    root = make(checkout / f"leaderboard/submissions/digits@1/{ID}")
    (checkout / "leaderboard/submissions/digits@1/digits/before/model.yaml").write_text(" " * 300_000)
    commit(checkout)
    asked = []
    run = changes._git
    monkeypatch.setattr(changes, "_git", lambda root, *command: asked.append(command) or run(root, *command))
    folders, _ = since_main(checkout)
    assert f"leaderboard/submissions/digits@1/{ID}" in folders
    assert not [c for c in asked if "blob" in c and c[-1].startswith("HEAD:") and "before" in c[-1]], (
        "its size is enough"
    )
    monkeypatch.setattr(changes, "_LARGEST_ANSWER", 100)
    with pytest.raises(ChangesError, match="more changes than a submission has"):
        since_main(checkout)
    monkeypatch.undo()
    monkeypatch.setattr(changes, "_MOST", 2)
    with pytest.raises(ChangesError, match="paths change since main, at most 2 are looked at"):
        since_main(checkout)
    assert root.is_dir()
