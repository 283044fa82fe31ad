"""Results alone, of models that the registry knows: taken, marked, ranked, verified, and refused where wrong."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from commands import invoke
from submissions import ID, make

from pagbench import benchmarks, columns, results
from pagbench.errors import ResultsError
from pagbench.models import registry
from pagbench.ranking import leaderboard as rank
from pagbench.results import PUBLISHED
from pagbench.submissions import changes, report
from pagbench.submissions import verify as rerun

pytestmark = pytest.mark.usefixtures("short_preflight")

LABEL, MODEL, OTHER = "digits@1", "digits/noise-0.6", "digits/smoothness-10"
HOME = Path("submissions") / LABEL / MODEL


@pytest.fixture
def leaderboard(tmp_path):
    """Published are the anchors and one more model."""
    for name in ("digits/standard", "control/bayes", OTHER):
        copy(results.path_of(PUBLISHED, benchmarks.load(LABEL), name), tmp_path / "leaderboard/results" / LABEL, name)
    return tmp_path / "leaderboard"


@pytest.fixture
def run(tmp_path):
    """What a run leaves: a model that is to be reported, the anchors, and a network of one's own."""
    folder = tmp_path / "run"
    for name in (MODEL, "digits/standard", "control/bayes"):
        copy(results.path_of(PUBLISHED, benchmarks.load(LABEL), name), folder / LABEL, name)
    return folder


def copy(path, folder, name):
    target = folder / f"{name}.parquet"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)


def edit(path, rows=lambda rows: rows, **provenance):
    schema = columns.schema(benchmarks.load(LABEL))
    kept = results.read(path, schema)
    results.write(path, results.Result(rows(kept.rows), {**kept.document, **provenance}), schema)


def submit(run, leaderboard, *options):
    return invoke("submit", "results", run, "--leaderboard", leaderboard, "--by", "A. Helper", *options)


def test_results_of_a_known_model_are_laid_down_ranked_and_marked(run, leaderboard):
    done = submit(run, leaderboard)
    assert done.exit_code == 0, done.output
    assert f"ok: model: {MODEL}, reported by A. Helper" in done.output
    assert re.search(rf"{MODEL} takes rank 1( \(1–\d\))? of 3, alignment 0\.\d+ \[", done.output), done.output
    assert f"added: {leaderboard / HOME}" in done.output
    place = leaderboard / HOME
    found = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    assert found == {"report.yaml", f"results/{LABEL}/{MODEL}.parquet"}
    said = yaml.safe_load((place / "report.yaml").read_text())
    assert said == {"model": MODEL, "weights_sha256": said["weights_sha256"], "by": "A. Helper"}
    board = rank(leaderboard / "results", benchmark=benchmarks.load(LABEL)).set_index("model")
    assert board.loc[MODEL, "verification"] == "self-reported" and board.loc[MODEL, "rank"] == 1
    assert invoke("submit", "check", place, "--leaderboard", leaderboard).exit_code == 0
    assert [path.name for path in leaderboard.iterdir() if path.name.startswith(".")] == [], "nothing is left over"


def test_a_rerun_verifies_them(run, leaderboard):
    assert submit(run, leaderboard).exit_code == 0
    assert str(leaderboard / HOME) in rerun.find_targets(leaderboard / "results", benchmarks.load(LABEL))
    for target in (MODEL, str(leaderboard / HOME)):
        (subject,) = rerun.find_results(target, leaderboard / "results")
        (outcome,) = rerun.verify([subject], seed=5, by="a test", samples=8, device="cpu")
        assert outcome.record is not None and outcome.record.verdict == "verified", outcome
    board = rank(leaderboard / "results", benchmark=benchmarks.load(LABEL)).set_index("model")
    assert board.loc[MODEL, "verification"].startswith("verified by rerun of 8 images (a test")


def test_an_anchor_counts_once_it_is_verified(run, leaderboard):
    """Every regime hangs on it."""
    results.path_of(leaderboard / "results", benchmarks.load(LABEL), "control/bayes").unlink()
    assert submit(run, leaderboard, "--model", "control/bayes").exit_code == 0
    with pytest.warns(UserWarning, match="control/bayes is an anchor; its results count once they are verified"):
        before = rank(leaderboard / "results", benchmark=benchmarks.load(LABEL))
    assert before["regime"].isna().all()
    (subject,) = rerun.find_results("control/bayes", leaderboard / "results")
    assert next(rerun.verify([subject], seed=5, by="a test", samples=8, device="cpu")).record.verdict == "verified"
    board = rank(leaderboard / "results", benchmark=benchmarks.load(LABEL))
    assert board["regime"].notna().any()


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lambda path: edit(path, lambda rows: rows.iloc[1:]), "1 of 360 samples are missing"),
        (lambda path: edit(path, lambda rows: rows.assign(alignment_cosine=2.0)), "alignment_cosine"),
        (lambda path: edit(path, weights_sha256="0" * 64), "the registry has "),
        (lambda path: edit(path, seed=1), "seed 1, expected 0"),
    ],
    ids=["a row is missing", "out of range", "other weights", "another seed"],
)
def test_what_is_wrong_is_refused_in_a_line_and_not_laid_down(run, leaderboard, spoil, line):
    spoil(results.path_of(run, benchmarks.load(LABEL), MODEL))
    done = submit(run, leaderboard)
    assert done.exit_code in {1, 2}
    assert line in done.output + done.stderr, done.output
    assert not (leaderboard / "submissions").exists()


def test_models_that_nobody_knows_are_left_out(run, leaderboard):
    path = results.path_of(run, benchmarks.load(LABEL), MODEL)
    path.rename(path.with_name("mine.parquet"))
    done = submit(run, leaderboard)
    assert done.exit_code == 1
    assert "left out: digits/mine: no model of the registry" in done.stderr
    assert "submit your own with `pagbench submit init`" in done.stderr
    named = submit(run, leaderboard, "--model", "digits/mine")
    assert named.exit_code == 1 and "digits/mine: no results on digits@1 that can be submitted" in named.stderr


def test_published_results_and_those_of_another_reporter_stay(run, leaderboard):
    copy(results.path_of(PUBLISHED, benchmarks.load(LABEL), OTHER), run / LABEL, OTHER)
    assert submit(run, leaderboard).exit_code == 0
    before = (leaderboard / HOME / "report.yaml").read_bytes()
    again = invoke("submit", "results", run, "--leaderboard", leaderboard, "--by", "Somebody else")
    assert again.exit_code == 1
    assert f"error: by: {MODEL} is reported by A. Helper already" in again.output
    assert f"left out: {OTHER}: its results on {LABEL} are published already" in again.stderr
    assert (leaderboard / HOME / "report.yaml").read_bytes() == before


def test_a_submission_is_not_replaced_by_a_report(run, leaderboard, monkeypatch):
    """Its id is found among the submissions, not in the registry."""
    home = leaderboard / "submissions" / LABEL / ID
    make(home)
    monkeypatch.setattr(registry, "LEADERBOARD", leaderboard)
    registry._known.cache_clear()
    try:
        with pytest.raises(ResultsError, match=r"a submission of A\. Newcomer, who alone may change its results"):
            report.known_card(ID)
    finally:
        monkeypatch.undo()
        registry._known.cache_clear()
    make(leaderboard / HOME, id=MODEL)
    done = submit(run, leaderboard)
    assert done.exit_code == 1
    assert f"{MODEL} is a submission; its authors alone may change its results" in done.output
    assert (leaderboard / HOME / "model.yaml").exists()


def test_a_report_of_a_longer_id_stays_where_one_of_its_beginning_is_laid(run, leaderboard):
    longer = leaderboard / HOME / "base"
    longer.mkdir(parents=True)
    (longer / "report.yaml").write_text("model: x\n")
    (longer / "more").touch()
    for _ in range(2):
        assert submit(run, leaderboard).exit_code == 0
    assert (longer / "report.yaml").read_text() == "model: x\n"
    assert not any(path.name.endswith("-older") for path in leaderboard.rglob("*"))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("model: ../up\nweights_sha256: ''\nby: me\n", "model: "),
        ("model: hf/me/nets\nweights_sha256: ''\nby: me\n", "hf/me/nets: no model of the registry"),
        ("model: digits/standrad\nweights_sha256: ''\nby: me\n", "closest: digits/standard"),
        ("model: digits/noise-0.6\nweights_sha256: zz\nby: me\n", "weights_sha256: "),
        ("model: digits/noise-0.6\nweights_sha256: ''\nby: me\nrank: 1\n", "rank: "),
        ("!!python/object:os.system ls\n", "report.yaml"),
        ("[]", "report.yaml"),
    ],
)
def test_a_damaged_report_is_one_line(run, leaderboard, text, line):
    assert submit(run, leaderboard).exit_code == 0
    (leaderboard / HOME / "report.yaml").write_text(text)
    findings = list(report.check(leaderboard / HOME, leaderboard, benchmarks.load(LABEL)))
    assert len(findings) == 1 and findings[0].level == "error"
    assert line in str(findings[0])


def test_files_that_no_report_has_are_refused(run, leaderboard):
    assert submit(run, leaderboard).exit_code == 0
    (leaderboard / HOME / "weights.pt").write_bytes(b"code")
    found = [str(finding) for finding in report.check(leaderboard / HOME, leaderboard, benchmarks.load(LABEL))]
    assert "error: weights.pt: not a file of a submission; expected a report and results; remove it" in found


@pytest.mark.parametrize(
    ("path", "root"),
    [
        ("b@1/robustbench/cifar10/L2/Standard/report.yaml", "b@1/robustbench/cifar10/L2/Standard"),
        ("b@1/timm/vit/results/b@1/timm/vit.parquet", "b@1/timm/vit"),
        ("b@1/digits/mine/model.yaml", "b@1/digits/mine"),
        ("b@1/digits/mine/sub/model.yaml", "b@1/digits/mine"),
        ("b@1/digits/report.yaml", ""),
        ("b@1/results/x", ""),
        ("README.md", ""),
    ],
)
def test_a_file_is_of_the_submission_that_its_path_says(path, root):
    assert "/".join(changes._submission(tuple(path.split("/")))) == root


def test_a_pull_request_of_a_report_is_checked_and_nobody_changes_that_of_another(run, leaderboard, monkeypatch):
    root = leaderboard.parent
    for name in ("GIT_AUTHOR", "GIT_COMMITTER"):
        monkeypatch.setenv(f"{name}_NAME", "a test")
        monkeypatch.setenv(f"{name}_EMAIL", "test@example.org")

    def git(*arguments):
        subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True)

    def commit():
        git("add", "leaderboard")
        git("commit", "-q", "--message", "a commit")

    git("init", "-q")
    commit()
    assert submit(run, leaderboard).exit_code == 0
    commit()
    done = invoke("submit", "check", "--since", "HEAD~1", "--leaderboard", leaderboard)
    assert done.exit_code == 0, done.output
    assert f"submission: {leaderboard / HOME}" in done.output and f"{MODEL} takes rank 1" in done.output
    edit(leaderboard / HOME / "results" / LABEL / f"{MODEL}.parquet", command="another")
    commit()
    done = invoke("submit", "check", "--since", "HEAD~1", "--leaderboard", leaderboard)
    assert "changes what A. Helper has reported: a maintainer must confirm it" in done.output
    path = leaderboard / HOME / "report.yaml"
    path.write_text(path.read_text().replace("A. Helper", "Somebody else"))
    commit()
    done = invoke("submit", "check", "--since", "HEAD~1", "--leaderboard", leaderboard)
    assert done.exit_code == 1
    assert "changes what A. Helper has reported; a maintainer must do that" in done.output
