"""What a results file alone gives away: its form, its origin, its rows, and values that cannot be."""

import ability_results
import numpy as np
import pandas as pd
import pytest

from pagbench import benchmarks, columns, results
from pagbench.models import registry
from pagbench.results import thumbnails
from pagbench.submissions import check_results, folder
from pagbench.submissions.findings import refused

MODEL = "digits/noise-0.6"


@pytest.fixture
def place(tmp_path):
    return results.path_of(tmp_path, benchmarks.load("digits@1"), MODEL)


@pytest.fixture
def findings(digits, place):
    """Findings on the published results after an edit of their rows and provenance."""
    request = registry.find(MODEL)
    card, path = request.card, request.path
    honest = results.read(results.path_of(results.PUBLISHED, digits, MODEL), columns.schema(digits))

    def check(rows=lambda rows: rows, provenance=lambda kept: kept, measured=digits, card=card):
        edited = results.Result(rows(honest.rows.copy()), provenance(dict(honest.document)))
        results.write(place, edited, columns.schema(digits))
        return check_results.check_results(place, card, measured, folder.weights_sha256(card, path.parent))

    return check


def messages(found):
    return " | ".join(str(finding) for finding in found)


def test_honest_results_are_believed(findings):
    (found,) = findings()
    assert found.level == "ok"
    assert "360 rows" in found.message


def test_published_results_are_believed():
    for label in benchmarks.names():
        benchmark, home = benchmarks.load(label), results.PUBLISHED / label
        for path in sorted(home.rglob("*.parquet"))[::7]:
            request = registry.find(path.relative_to(home).with_suffix("").as_posix())
            card, place = request.card, request.path
            found = check_results.check_results(path, card, benchmark, folder.weights_sha256(card, place.parent))
            assert not refused(found), messages(found)


def swapped(rows):
    labels = rows["label"].to_numpy()
    return rows.assign(label=np.roll(labels, 1))


def put(column, value, row=3):
    def edit(rows):
        rows.loc[row, column] = value
        return rows

    return edit


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda rows: rows.iloc[:-7], "7 of 360 samples are missing"),
        (lambda rows: pd.concat([rows.iloc[:-1], rows.iloc[:1]]), "1 samples more than once"),
        (put("sample_id", "no-such"), "1 rows of samples that are not asked for"),
        (swapped, "labels are not the data set's"),
        (put("label", 10), "1 labels are not of the 10 classes"),
        (put("entrant", "digits/standard"), "rows with entrant digits/standard, expected digits/noise-0.6"),
        (put("family", "<script>alert(1)</script>"), "rows with family <script>"),
        (put("strength", 0.7), "rows with strength 0.7"),
        (put("control", True), "rows with control True"),
        (put("seed", 9), "rows with seed 9"),
        (put("version", 2), "rows with version 2"),
        (put("benchmark", "gaussians"), "rows with benchmark gaussians"),
        (put("alignment_lpips", 1.05), "alignment_lpips: 1 values out of range"),
        (put("alignment_cosine", -1.2), "alignment_cosine: 1 values out of range"),
        (put("tangent_energy", 1.2), "expected 0 to 1"),
        (put("on_response_1", 2.5), "on_response_1: 1 values out of range"),
        (put("off_sensitivity", -0.1), "off_sensitivity: 1 values out of range"),
        (put("gradient_norm", np.inf), "gradient_norm: 1 values out of range"),
        (put("gradient_faithful", 0.5), "expected 0 or 1"),
        (put("nll", np.nan), "nll: 1 values are missing"),
        (put("off_response_1", np.nan), "off_response_1: 1 values are missing"),
        (put("alignment_cosine", np.nan), "1 rows lack some but not all columns of the gradient"),
        (put("temperature", 3.0), "temperature: 2 values, expected one"),
        (lambda rows: rows.assign(correct=1.0), "are called correct against their own probabilities"),
        (lambda rows: rows.assign(correct=0.0), "are called wrong against their own probabilities"),
        (lambda rows: rows.assign(confidence=0.9), "against their own probabilities"),
        (lambda rows: rows.assign(nll=rows["nll"] / 2), "against their own probabilities"),
    ],
)
def test_edited_rows_are_refused(findings, edit, reason):
    found = findings(rows=edit)
    assert refused(found)
    assert reason in messages(found)
    assert all(str(finding).isprintable() for finding in found)


def test_what_a_file_says_is_cut_short(findings):
    (found,) = findings(rows=put("family", "x" * 100_000))
    assert len(str(found)) < 700
    (found,) = findings(provenance=lambda kept: kept | {"format": "y" * 100_000})
    assert len(str(found)) < 700


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        ({"weights_sha256": "0" * 64}, "the results are of other weights"),
        ({"behaviour": "0" * 64}, "the card was of another network"),
        ({"benchmark_digest": "0" * 64}, "the benchmark's definition was another"),
        ({"benchmark": "digits@9"}, "benchmark digits@9, expected digits@1"),
        ({"revision": 1}, "revision 1, expected"),
        ({"seed": 5}, "the noise was not the benchmark's"),
        ({"format": 1}, "results format 1"),
        ({"preflight": {"checks": [{"name": "range", "verdict": "fail", "found": "NaN"}]}}, "pre-flight has failed"),
        ({"card": {"id": "x"}}, "not a readable results file"),
    ],
)
def test_results_of_another_origin_are_refused(findings, edit, reason):
    found = findings(provenance=lambda kept: kept | edit)
    assert refused(found)
    assert reason in messages(found)


def test_results_under_another_card_are_refused(findings):
    other = registry.find("digits/noise-2.5").card
    found = findings(provenance=lambda kept: kept | {"card": other.model_dump(mode="json")})
    assert "the card in it is of digits/noise-2.5" in messages(found)


def test_another_title_is_only_a_warning(findings):
    card = registry.find(MODEL).card
    found = findings(card=card.model_copy(update={"title": "The best network"}))
    assert [finding.level for finding in found] == ["ok", "warning"]
    assert "another title" in messages(found)


def test_rows_of_another_benchmark_are_refused(findings):
    assert "columns, expected" in messages(findings(measured=benchmarks.load("fashion-mnist@1")))


def pictures(edit):
    """Provenance whose first maps are edited."""
    return lambda kept: kept | {"maps": edit(dict(kept["maps"]))}


@pytest.mark.parametrize(
    ("provenance", "reason"),
    [
        (pictures(lambda shown: shown | {"images": "no base64"}), "field 'maps.images'"),
        (pictures(lambda shown: shown | {"images": "AAAA"}), "the pictures in its results file are damaged"),
        (pictures(lambda shown: shown | {"sample_ids": list("abcd")}), "images that the benchmark does not have"),
        (pictures(lambda shown: shown | {"shape": [1, 4, 16]}), "shape (1, 4, 16), expected (1, 8, 8)"),
        (lambda kept: kept | {"made": {"clean": kept["maps"]}}, "pictures are of 'clean', expected none"),
        (lambda kept: kept | {"made": 3}, "field 'made'"),
    ],
)  # fmt: skip
def test_pictures_that_cannot_be_of_the_benchmark_are_refused(findings, provenance, reason):
    found = findings(provenance=provenance)
    assert refused(found) and reason in messages(found)


def test_results_of_an_ability_are_checked_with_their_pictures(digits, tmp_path):
    """They are of the first images only."""
    request = registry.find("digits/standard")
    card, path = request.card, request.path

    def check(**said):
        sha256 = folder.weights_sha256(card, path.parent)
        place = ability_results.write_one(tmp_path, card.id, "generation", said=said)
        return check_results.check_results(place, card, digits, sha256, measure="generation")

    (honest,) = check()
    assert honest.level == "ok" and "192 rows" in honest.message
    made = ability_results.images(card.id, "generation", 0)
    other = {"generation": made["generation"] | {"sample_ids": ["nobody"] * thumbnails.GENERATED}}
    assert "images that the benchmark does not have" in messages(check(made=other))
    assert "pictures are of 'denoising', expected generation or" in messages(
        check(made={"denoising": made["generation"]})
    )
    assert "made.generation.shape" in messages(check(made={"generation": {"sample_ids": []}}))
    assert "damaged" in messages(check(made={"generation": made["generation"] | {"images": "AAAA"}}))


def test_a_folder_of_results_names_its_benchmark_and_model(digits, tmp_path):
    request = registry.find(MODEL)
    card, path = request.card, request.path
    honest = results.path_of(results.PUBLISHED, digits, MODEL)
    for place in ("digits@1/digits/noise-0.6", "digits@1/digits/noise-2.5", "digits@7/digits/noise-0.6"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{place}.parquet").write_bytes(honest.read_bytes())
    found = check_results.check_folder(tmp_path, card, folder.weights_sha256(card, path.parent))
    assert [finding.level for finding in found] == ["ok", "error", "error"]
    assert "expected digits@1/digits/noise-0.6.parquet" in messages(found)
    assert "no benchmark of this name" in messages(found)
