"""The documentation says what the code does."""

import dataclasses
import importlib.util
import io
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import beta, binom

import pagbench
from pagbench import benchmarks
from pagbench.errors import EXTRAS
from pagbench.models import checks, registry
from pagbench.ranking.board import agreements
from pagbench.reports.site import home
from pagbench.studies import correlations

ROOT = Path(__file__).parent.parent.parent
NUMBER = re.compile(r"(?<![\w.])-?\d+\.\d+(?:e[-+]?\d+)?")


def generator():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generate():
    return generator()


@pytest.fixture(scope="module")
def published(generate):
    """All published results, read once for documents and site."""
    return generate.studies()


def same_text(found, expected):
    """Whether two texts agree but for the last digit of their numbers, which the machine's rounding decides."""
    if NUMBER.sub("#", found) != NUMBER.sub("#", expected):
        return False
    pairs = zip(NUMBER.findall(found), NUMBER.findall(expected), strict=True)
    return all(one == other or _close(one, other) for one, other in pairs)


def _close(one, other):
    shown = len(other.partition("e")[0].partition(".")[2])
    return math.isclose(float(one), float(other), rel_tol=1e-5, abs_tol=1e-9 if "e" in other else 1.1 * 10.0**-shown)


def same_file(name, found, expected):
    """Whether two files of the site say the same up to rounding, however pictures and tables were packed."""
    if found == expected:
        return True
    if name.endswith(".png"):
        one, other = (np.asarray(Image.open(io.BytesIO(part)).convert("RGBA"), dtype=int) for part in (found, expected))
        return one.shape == other.shape and abs(one - other).max() <= 2
    if name.endswith(".parquet"):
        one, other = (pd.read_parquet(io.BytesIO(part)) for part in (found, expected))
        return same_text(one.to_csv(), other.to_csv())
    return same_text(found.decode(), expected.decode())


def test_generated_documents_are_up_to_date(generate, published):
    for path, expected in generate.documents(published).items():
        assert same_text(path.read_text(encoding="utf-8"), expected), f"{path.name} is stale: run `make docs`"


def test_no_claim_of_the_documents_moves_with_a_submission(generate, tmp_path, monkeypatch):
    (tmp_path / "leaderboard" / "results").mkdir(parents=True)
    (tmp_path / "leaderboard" / "results" / "kept").touch()
    monkeypatch.setattr(generate, "RESULTS", tmp_path / "leaderboard" / "results")
    read = []
    monkeypatch.setattr(
        generate.building, "read", lambda home: read.append((home / "kept", [*home.parent.iterdir()])) or []
    )
    assert generate.without_submissions({"a": 1}) == {"a": 1} and not read
    (tmp_path / "leaderboard" / "submissions").mkdir()
    assert generate.without_submissions({"a": 1}) == {}
    ((kept, beside),) = read
    assert kept.name == "kept" and [path.name for path in beside] == ["results"]


def test_staleness_is_seen_and_rounding_is_not():
    assert same_text("0.839 ±0.023, 1.5e-17", "0.838 ±0.024, 2.5e-18")
    assert not same_text("0.839", "0.837") and not same_text("a 1", "a 2") and not same_text("1.5e-03", "1.6e-03")
    assert same_text("0.12345678901234567", "0.12345678901299999") and not same_text("0.1234567890", "0.1234667890")


DOCUMENTS = [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), ROOT / "leaderboard" / "README.md"]
FENCE = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)


def anchors(document):
    """Where GitHub puts the headings of a document."""
    text = FENCE.sub("", document.read_text(encoding="utf-8"))
    headings = [
        re.sub(r"`|\*|\[([^]]*)\]\([^)]*\)", r"\1", line) for line in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    ]
    slugs = ["".join(c for c in line.lower() if c.isalnum() or c in " -_").replace(" ", "-") for line in headings]
    return {slug if index == 0 else f"{slug}-{index}" for slug in slugs for index in range(slugs.count(slug))}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document):
    text = FENCE.sub("", document.read_text(encoding="utf-8"))
    for target, anchor in re.findall(r"\]\((?!https?://|mailto:)([^)#\s]*)#?([^)\s]*)\)", text):
        place = document.parent / target if target else document
        assert place.exists(), target
        assert not anchor or anchor in anchors(place), f"{target}#{anchor}"


def test_an_anchor_is_what_github_makes_of_a_heading(tmp_path):
    (tmp_path / "page.md").write_text("# 28×28 (`digits@2`)\n```\n# no heading\n```\n## On [a](b.md)\n## On a\n")
    assert anchors(tmp_path / "page.md") == {"2828-digits2", "on-a", "on-a-1"}


def test_models_of_the_readme_exist():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"\| (fashion-mnist/[\w.-]+|control/[\w-]+) \|", readme)
    assert named and set(named) <= {*registry.names()}


def test_the_readme_is_short():
    """Prose counts: no code, no table, no picture, no badge, no address."""
    readme = FENCE.sub("", (ROOT / "README.md").read_text(encoding="utf-8"))
    readme = re.sub(r"^(\||\[?!\[|<!--).*$", "", readme, flags=re.MULTILINE)
    assert len(re.sub(r"\]\([^)]*\)", "]", readme).split()) <= 700
    table = [line for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    assert len(table) <= 1 + 8 and {line.count("|") for line in table} == {5 + 1}


def test_the_guide_to_installing_has_every_extra():
    guide = (ROOT / "docs" / "how-to" / "install.md").read_text(encoding="utf-8")
    table = guide.partition("| extra | what needs it |\n")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == sorted(set(EXTRAS.values()))


def test_public_names_are_documented_and_importable():
    for name in pagbench.__all__:
        value = getattr(pagbench, name)
        assert name == "__version__" or value.__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        pagbench.nothing  # noqa: B018


def test_make_targets_in_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE):
        assert f"\n{target}:" in makefile


@pytest.mark.parametrize(
    ("published", "falsely", "any_of_200", "found", "surely"),
    [
        (0.70, 0.08, 15, (0, 6, 54), 14.0),
        (0.90, 0.05, 10, (1, 18, 89), 10.5),
        (0.95, 0.04, 9, (2, 42, 98), 8.5),
        (0.99, 0.03, 6, (24, 95, 100), 4.5),
    ],
)
def test_what_is_said_of_the_check_of_accuracy_is_what_its_interval_does(published, falsely, any_of_200, found, surely):
    right = np.arange(checks.IMAGES + 1)
    lows = np.where(right > 0, beta.ppf(0.0005, right, checks.IMAGES - right + 1), 0)  # Clopper and Pearson's
    highs = np.where(right < checks.IMAGES, beta.ppf(0.9995, right + 1, checks.IMAGES - right), 1)
    outside = (published < lows) | (published > highs)

    def flagged(loss):
        return binom.pmf(right, checks.IMAGES, published - loss / 100)[outside].sum()

    assert round(100 * flagged(0), 2) == falsely
    assert round(100 * (1 - (1 - flagged(0)) ** 200)) == any_of_200
    assert tuple(round(100 * flagged(loss)) for loss in (2, 5, 10)) == found
    assert flagged(surely) >= 0.9 > flagged(surely - 0.5)
    cells = [f"{falsely:.2f} %", f"{any_of_200} %", *(f"{share} %" for share in found), f"{surely:g} points"]
    line = f"| {published:.2f}".replace("0.", ".") + " | " + " | ".join(cells).replace("0.", ".", 1) + " |"
    assert line in (ROOT / "docs" / "reference" / "preflight.md").read_text(encoding="utf-8")


def test_no_claim_rests_on_a_family_that_trains_on_the_target(generate, published):
    fashion = published["fashion-mnist@2"]
    assert "score-matching" in generate.verdicts.paths(fashion)
    said = generate.verdicts.claims([fashion])
    assert "score-matching" not in said
    assert "of 6 families" in said and "44 recipes" in said and "50 recipes" not in said
    assert "score-matching" not in generate.verdicts.profiles(fashion)


def test_rows_that_sigma_alone_makes_excessive_are_no_evidence_on_sigma(generate, published):
    """Where no accuracy loss counts, sigma* is all that is left to make a row excessive."""
    fashion = published["fashion-mnist@2"]
    tolerant = fashion.benchmark.thresholds.model_copy(update={"drop": 0.9})
    lenient = dataclasses.replace(fashion, benchmark=fashion.benchmark.model_copy(update={"thresholds": tolerant}))
    last = [generate.verdicts.claims([study]).splitlines()[-1] for study in (fashion, lenient)]
    assert "holds**: 4 of 4 families" in last[0]
    assert last[1].endswith("| no path has a Bayes-aligned recipe and one that loses accuracy |")


def test_agreement_and_correlation_leave_out_who_trains_on_the_target(published):
    fashion = published["fashion-mnist@2"]
    together = fashion.board.drop(columns="track")
    for board, count in ((fashion.board, 44), (together, 50)):
        assert {found.models for found in agreements(board, fashion.benchmark)} == {count}
        shown = correlations.points(dataclasses.replace(fashion, board=board))
        assert correlations.correlation(shown, "log_ratio", "alignment").models == count


def test_the_first_page_leads_with_the_newest_edition(published):
    shown = [verdict.benchmark.label for verdict in home.page(list(published.values())).content["images"]]
    for name in ("digits", "fashion-mnist"):
        assert shown.index(f"{name}@2") < shown.index(f"{name}@1")
    assert benchmarks.load("digits@2").heading.endswith("(version 2)")
    assert benchmarks.load("sphere@1").heading == benchmarks.load("sphere@1").title
