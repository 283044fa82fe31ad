"""Submissions whose weights are kept back: results are shown and marked, and the word given for the weights is kept."""

import hashlib
import json
import shutil
import subprocess
from pkgutil import resolve_name

import pytest
import yaml
from commands import assert_one_line, invoke
from submissions import ID, change, fields, make

import pagbench
from pagbench import columns, models, results
from pagbench.cards import ModelCard
from pagbench.errors import CardError, WeightsError
from pagbench.models import registry
from pagbench.ranking import render
from pagbench.reports.site import building
from pagbench.results import PUBLISHED
from pagbench.submissions import changes, check, folder

MARK = "self-reported, weights under embargo (sha256 "


@pytest.fixture(autouse=True)
def _here(short_preflight, monkeypatch):
    """Networks are tried on few images and in this process: the sandbox has tests of its own."""
    monkeypatch.setattr(check.sandbox, "run", lambda called, *arguments, limits: resolve_name(called)(*arguments))


def measured(root, digits, **card):
    """The submission's results: those of the shipped network whose weights it has."""
    kept = results.read(results.path_of(PUBLISHED, digits, "digits/noise-0.6"), columns.schema(digits))
    mine = folder.read_card(root).model_copy(update=card)
    document = {
        **kept.document, "card": mine.model_dump(mode="json", exclude_none=True), "behaviour": mine.functional_hash(),
        "weights_sha256": mine.weights_sha256,
    }  # fmt: skip
    path = results.path_of(root / "results", digits, ID)
    results.write(path, results.Result(kept.rows.assign(entrant=ID), document), columns.schema(digits))
    return root


@pytest.fixture
def author(tmp_path, digits):
    """The author's folder: card, weights and results."""
    return measured(make(tmp_path / "mine", embargo=True), digits)


@pytest.fixture
def board(tmp_path, digits):
    """A leaderboard with three published models."""
    for name in ("control/bayes", "digits/standard", "digits/gradient-norm-1"):
        path = results.path_of(tmp_path / "leaderboard/results", digits, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(results.path_of(PUBLISHED, digits, name), path)
    return tmp_path / "leaderboard"


@pytest.fixture
def added(author, board):
    """Its folder in the leaderboard."""
    target = board / "submissions/digits@1" / ID
    shutil.copytree(author, target)
    (target / "newcomer.safetensors").unlink()
    return target


def findings(root, board, level="error"):
    return [str(finding) for finding in check.check(root, board, benchmark="digits@1") if finding.level == level]


def test_results_are_added_without_the_weights(author, board):
    done = invoke("submit", "add", author, "-b", "digits@1", "--leaderboard", board)
    assert done.exit_code == 0, done.output
    assert "ok: newcomer.safetensors: safetensors" in done.output, "its authors have them, so that they are tried"
    assert f"{ID} takes rank 1" in done.output
    target = board / "submissions/digits@1" / ID
    assert sorted(path.name for path in target.rglob("*") if path.is_file()) == ["model.yaml", "newcomer.parquet"]
    assert (author / "newcomer.safetensors").exists()
    assert findings(target, board) == []


def test_what_was_added_is_checked_by_its_results_alone(added, board, digits):
    assert findings(added, board) == []
    assert any("under embargo" in line for line in findings(added, board, "warning"))
    path = results.path_of(added / "results", digits, ID)
    kept = results.read(path, columns.schema(digits))
    results.write(path, results.Result(kept.rows.assign(confidence=2.0), kept.document), columns.schema(digits))
    assert "confidence: 360 values out of range" in findings(added, board)[0]


@pytest.mark.parametrize("gone", ["results", "weights_of_results"])
def test_under_embargo_there_must_be_results_of_these_weights(added, board, gone):
    if gone == "results":
        shutil.rmtree(added / "results")
        assert "under embargo they are all there is" in findings(added, board)[0]
    else:
        change(added, weights_sha256="0" * 64)
        assert any("results are of other weights" in line for line in findings(added, board))


def test_nothing_is_added_that_was_not_measured(author, board):
    shutil.rmtree(author / "results")
    assert_one_line(
        invoke("submit", "add", author, "-b", "digits@1", "--leaderboard", board),
        "under embargo",
        "pagbench submit run",
    )
    assert not (board / "submissions/digits@1" / ID).exists()


def test_weights_that_lie_in_the_leaderboard_are_no_secret(added, author, board):
    shutil.copyfile(author / "newcomer.safetensors", added / "newcomer.safetensors")
    assert "for all to see" in findings(added, board)[0]


def test_the_mark_stands_in_every_form(added, board, digits):
    table = pagbench.leaderboard(board / "results", benchmark=digits)
    row = table.set_index("model").loc[ID]
    sha256 = fields(added)["weights_sha256"]
    assert row["rank"] == 1 and row["verification"] == f"{MARK}{sha256[:12]}…)"
    for shown in (
        render.to_table(table, digits, notes=True),
        render.to_table(table, digits, 90, notes=True),
        render.to_markdown(table, digits, notes=True),
    ):
        assert "newcomer †" in shown and f"† {ID}: {MARK}{sha256[:12]}" in " ".join(shown.split())
        assert "† digits/standard" not in shown
        assert "Verified by rerun (pagbench verify): 0 of 4; all are self-reported" in " ".join(shown.split())
    assert "newcomer †" in render.to_table(table, digits)
    assert "†: weights under embargo." in render.legend(table, digits)
    assert json.loads(render.to_json(table, digits))[0]["verification"].startswith(MARK)
    assert f"{MARK}{sha256[:12]}" in render.to_csv(table, digits)
    rows = results.to_frame(results.read_all(board / "results", digits))
    assert pagbench.leaderboard(rows).set_index("model").loc[ID, "verification"] == row["verification"]


@pytest.mark.slow
def test_the_mark_stands_on_the_site(added, board):
    written = building.contents(building.read(board / "results"))
    page, model = (written[path].decode() for path in ("benchmarks/digits@1.html", f"models/{ID}.html"))
    assert ">embargo<" in page and '"verdict":"weights under embargo"' in page
    assert "its weights are under embargo, so that nobody else can measure it again yet" in page
    assert "Self-reported, weights under embargo." in model and fields(added)["weights_sha256"] in model
    assert "embargo" not in written["models/digits/standard.html"].decode()


def test_nobody_can_verify_it(added, board):
    done = invoke("verify", added, "--results", board / "results", "--by", "a test")
    assert done.exit_code == 2
    assert f"{ID} cannot be verified while under embargo" in done.stderr
    assert not list(added.rglob("*.verified.json"))


def test_a_forged_file_is_refuted_all_the_same(added, board, digits):
    path = results.path_of(added / "results", digits, ID)
    kept = results.read(path, columns.schema(digits))
    results.write(path, results.Result(kept.rows.iloc[1:], kept.document), columns.schema(digits))
    done = invoke("verify", added, "--results", board / "results", "--by", "a test")
    assert done.exit_code == 1 and "refuted by the file itself" in done.output


def published(author, tmp_path, digits, *, other=False):
    """The same submission without the embargo, measured anew; with other weights."""
    root = make(tmp_path / "later")
    if other:
        content = (root / "newcomer.safetensors").read_bytes() + b"\0"
        (root / "newcomer.safetensors").write_bytes(content)
        change(root, weights_sha256=hashlib.sha256(content).hexdigest())
    return measured(root, digits)


def test_the_weights_that_are_published_later_are_those(added, author, board, tmp_path, digits):
    assert findings(published(author, tmp_path, digits), board) == []
    assert not check.refused(list(check.check_outside(tmp_path / "later", board, "digits@1")))
    shutil.rmtree(tmp_path / "later")
    refused = findings(published(author, tmp_path, digits, other=True), board)
    assert "those under embargo have" in refused[0] and fields(added)["weights_sha256"][:12] in refused[0]


@pytest.mark.parametrize(
    "changed",
    [
        {"embargo": True, "weights_sha256": "1" * 64},
        {"embargo": None, "weights_sha256": "1" * 64},
        {
            "embargo": None, "weights": None, "weights_sha256": None, "download": [
                {"path": f"{ID}/x.safetensors", "mirrors": ["hf:a/b@v1/x"], "sha256": "2" * 64, "size": 9}
            ],
        },
    ],
)  # fmt: skip
def test_no_update_names_other_weights(added, author, board, tmp_path, changed):
    change(author, **changed)
    assert any("those under embargo have" in str(f) for f in check.check_outside(author, board, "digits@1"))


def test_a_link_to_the_very_weights_lifts_the_embargo(added, author, board):
    sha256 = fields(author)["weights_sha256"]
    link = {"path": f"{ID}/x.safetensors", "mirrors": ["hf:a/b@v1/x.safetensors"], "sha256": sha256, "size": 9}
    change(author, embargo=None, weights=None, download=[link])
    (author / "newcomer.safetensors").unlink()
    assert not check.refused(list(check.check_outside(author, board, "digits@1")))


def test_results_that_still_speak_of_the_embargo_are_to_be_measured_again(author, board, digits):
    change(author, embargo=None)
    assert any("says that the weights are under embargo" in line for line in findings(author, board))
    change(author, embargo=True)
    measured(author, digits, embargo=None)
    assert any("does not say that the weights are under embargo" in line for line in findings(author, board))


def test_a_branch_that_publishes_other_weights_is_refused(added, tmp_path, monkeypatch):
    def git(*arguments):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True, capture_output=True)

    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "A")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "a@example.org")
    git("init", "-q", "-b", "main")
    git("add", "-A")
    git("commit", "-q", "-m", "A change")
    git("switch", "-q", "-c", "branch")
    for sha256, refused in (("3" * 64, True), (fields(added)["weights_sha256"], False)):
        change(added, embargo=None, weights_sha256=sha256)
        git("commit", "-q", "-a", "--allow-empty", "-m", "Publish")
        _, found = changes.submissions(tmp_path / "leaderboard", "main")
        assert any("those under embargo have" in f.message for f in found if f.level == "error") == refused


def test_only_its_authors_load_it(author, digits):
    assert registry.find(str(author / "model.yaml")).load(digits).card.id == ID
    (author / "newcomer.safetensors").unlink()
    with pytest.raises(WeightsError, match=f"^{ID}: its weights are under embargo"):
        registry.find(str(author / "model.yaml")).load(digits)
    assert_one_line(invoke("check", author / "model.yaml", "-b", "digits@1"), "under embargo")


def test_init_asks_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr("pagbench.submissions.create.WEIGHTS_BESIDE", 1000)  # which weights under embargo may exceed
    request = models.find("digits/noise-0.6")
    given = ["--weights", request.path.parent / request.card.weights, "--authors", "A", "--license", "MIT"]
    given += ["--activation", "silu", "--trained-on", "train"]
    done = invoke("submit", "init", tmp_path / "mine", "--yes", "--embargo", "--id", ID, *given)
    assert done.exit_code == 0, done.output
    card = fields(tmp_path / "mine")
    assert card["embargo"] is True and len(card["weights_sha256"]) == 64
    link = ["--link", "hf:a/b@v1/x.safetensors"]
    assert_one_line(invoke("submit", "init", tmp_path / "o", "--yes", "--embargo", *given, *link), "no --link")
    plain = invoke("submit", "init", tmp_path / "plain", "--yes", "--id", ID, *given)
    assert plain.exit_code == 2 and "give --link" in plain.output


@pytest.mark.parametrize("fault", [{"weights_sha256": None}, {"download": [{"path": "a/b", "sha256": "0" * 64}]}])
def test_an_embargo_commits_to_the_weights(tmp_path, fault):
    root = make(tmp_path / "mine", embargo=True, weights=None)
    assert folder.read_card(root).embargo
    change(root, **fault)
    with pytest.raises(CardError, match="weights under embargo need weights_sha256"):
        folder.read_card(root)


def test_an_embargo_changes_no_behaviour(author):
    card = folder.read_card(author)
    assert card.functional_hash() == card.model_copy(update={"embargo": None, "weights": None}).functional_hash()
    assert ModelCard.parse(yaml.safe_load((author / "model.yaml").read_text()), "x") == card
