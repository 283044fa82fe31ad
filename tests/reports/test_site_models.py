"""Pages of single models and the page that compares them, against the leaderboard's own numbers."""

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import yaml
from browser import ROOT

from pagbench import benchmarks, columns, results
from pagbench.reports.site import board_columns, comparison, models, origins
from pagbench.reports.site.board_columns import KEYS
from pagbench.reports.site.rendering import render
from pagbench.results.preflight import Check, Preflight
from pagbench.results.verification import Verification
from pagbench.studies import baselines, paths
from pagbench.studies.models import Study, read_study

HOSTILE = """<script>alert(1)</script>"'><img src=x onerror=alert(2)>{{ 7 * 7 }}\u2028}\\end"""


class Cells(HTMLParser):
    """Text of all table rows, and every element with its attributes."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.elements, self._open = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        self._open = tag in ("td", "th") or (self._open and tag != "tr")
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self._open = self._open and tag not in ("td", "th")

    def handle_data(self, data):
        if self._open:
            self.rows[-1][-1] += data


def page_of(name, *studies):
    return render(next(page for page in models.pages(studies) if page.path == f"models/{name}.html"))


def changed(read, name, **fields):
    """The study with other fields of one model."""
    listed = tuple(dataclasses.replace(model, **fields) if model.card.id == name else model for model in read.models)
    return Study(read.benchmark, listed, read.board)


def test_every_measure_of_the_board_is_on_the_page_with_its_interval_unit_and_definition(digits_study, described):
    rows = {row[0]: row[1:] for row in Cells(page_of("digits/noise-0.6", digits_study)).rows if len(row) == 6}
    entry = digits_study.entries["digits/noise-0.6"]
    others = {"rank", *baselines.baseline_columns(digits_study.board)}
    measured = {
        name for name in digits_study.board if f"{name}_low" in digits_study.board and entry[name] is not None
    } - others
    known = {name: shown.column for name, shown in described.items()}
    assert set(rows) - {"measure"} == measured
    for name in measured:
        value, interval, unit, better, definition = rows[name]
        unit_of_last = 10.0 ** -len(value.partition(".")[2])
        assert float(value) == pytest.approx(entry[name], abs=0.5001 * unit_of_last)
        low, high = map(float, interval.strip("[]").split(", "))
        assert (low, high) == pytest.approx((entry[f"{name}_low"], entry[f"{name}_high"]), abs=0.5001 * unit_of_last)
        assert (unit, definition) == (known[name].unit, known[name].summary)
        assert better == {True: "higher", False: "lower", None: "neither"}[known[name].higher_is_better]
        assert not definition.startswith("Mean of the per-sample column")


def test_first_sentence_has_rank_interval_and_regime(digits_study):
    best = digits_study.named(digits_study.board["model"].iloc[0])
    entry = digits_study.entries[best.card.id]
    ranked = (digits_study.board["status"] == "ranked").sum()
    said = models.summary(digits_study, best)
    assert said.startswith(f"Rank {entry['rank']} of {ranked} ")
    assert f"{entry['alignment']:.3f}" in said and entry["regime"] in said


def test_scale_has_models_in_the_order_of_their_values(digits_study, described):
    places = {
        n.card.id: {s.measured.column.name: s for s in models.scales(digits_study, n, described)}
        for n in digits_study.models
    }
    ranked = digits_study.board[digits_study.board["status"] == "ranked"]
    for name in KEYS:
        by_value = ranked.sort_values(name)["model"]
        # each scale has room for the model's own interval, so that places are compared with the others' on it
        own = [sum(at < places[model][name].at for at in places[model][name].others) for model in by_value]
        assert own == sorted(own)
    scale = places["digits/standard"]["tangent_energy"]
    assert (
        scale.at == scale.marks[1]
        and scale.landmarks[1] == f"{digits_study.entries['digits/standard']['tangent_energy']:.3f}"
    )


def test_chance_of_a_tangent_energy_is_the_share_of_dimensions(digits_study, described):
    scales = models.scales(digits_study, digits_study.reference, described)
    energy = next(scale for scale in scales if scale.measured.column.name == "tangent_energy")
    assert energy.landmarks[0] == f"{digits_study.benchmark.rank / digits_study.benchmark.dimension:.3f}"


def test_histogram_counts_every_scored_image_and_marks_medians(digits_study):
    model = digits_study.named("digits/noise-0.6")
    for histogram in models.histograms(digits_study, model):
        values = model.rows[histogram.column.name].to_numpy(float)
        heights = models.HISTOGRAM_HEIGHT - np.array([float(top) for top in re.findall(r"V([\d.]+)H", histogram.bars)])
        counts = heights / heights.max()
        finite = values[np.isfinite(values)]
        tallest = len(finite) * counts / counts.sum()
        assert tallest == pytest.approx(np.rint(tallest), abs=0.2)  # whole images, to the path's four digits
        assert histogram.scored == len(finite) and tallest.sum() == pytest.approx(len(finite))
        own, reference, bayes = histogram.marks
        assert float(own.value) == pytest.approx(np.median(finite), rel=5e-3)
        assert float(bayes.value) == pytest.approx(
            np.nanmedian(digits_study.bayes.rows[histogram.column.name]), rel=5e-3
        )
        assert reference.kind == "reference"


def test_neighbours_are_one_step_of_strength_away(digits_study):
    middle, weakest, strongest = (digits_study.named(f"digits/noise-{s}") for s in ("0.6", "0.15", "2.5"))
    near = paths.neighbours(digits_study, middle)
    assert (near.weaker, near.stronger, near.siblings) == ((weakest,), (strongest,), ())
    assert paths.neighbours(digits_study, weakest).weaker == (digits_study.reference,)
    assert paths.neighbours(digits_study, strongest).stronger == ()
    assert weakest in paths.neighbours(digits_study, digits_study.reference).stronger
    assert paths.neighbours(digits_study, digits_study.bayes) == paths.Neighbours((), (), ())


def test_neighbours_link_back(digits_study):
    for model in digits_study.drawn:
        for other in paths.neighbours(digits_study, model).stronger:
            assert model in paths.neighbours(digits_study, other).weaker


def plain(read, name):
    """A model without the columns of optional measures."""
    model = read.named(name)
    optional = {column.name for column in columns.sample_columns(read.benchmark, columns.OPTIONAL)}
    return dataclasses.replace(model, rows=model.rows[[one for one in model.rows if one not in optional]])


def test_command_names_seed_and_optional_measures_only_where_they_differ(digits_study):
    model = plain(digits_study, "digits/noise-0.6")
    assert origins.commands(digits_study, model)[0].line == "pagbench run digits/noise-0.6 --benchmark digits@1"
    attacked = model.rows.assign(pgd_on_manifold=1.0, pgd_off_manifold=1.0)
    other = dataclasses.replace(model, rows=attacked, provenance={**model.provenance, "seed": 7})
    assert origins.commands(digits_study, other)[0].line.endswith("--benchmark digits@1 --seed 7 --measures confined")


def test_command_of_a_model_that_pagbench_does_not_know_names_a_card(digits_study):
    model = plain(digits_study, "digits/noise-0.6")
    own = dataclasses.replace(model, card=model.card.model_copy(update={"id": "acme/net"}))
    assert origins.commands(digits_study, own)[0].line == "pagbench run model.yaml --benchmark digits@1"


def test_training_on_the_target_is_said_beside_the_rank(digits_study):
    model = digits_study.named("digits/noise-0.6")
    told = dataclasses.replace(model, card=model.card.model_copy(update={"trained_on_target": True}))
    assert "own target" not in models.summary(digits_study, model)
    assert models.summary(digits_study, told).endswith("It was trained on the benchmark's own target.")


@pytest.mark.slow
def test_every_page_of_every_benchmark_can_be_written():
    labels = [label for label in benchmarks.names() if results.has_results(results.PUBLISHED, benchmarks.load(label))]
    studies = [read_study(results.PUBLISHED, benchmarks.load(label)) for label in labels if "mnist" not in label]
    for page in [*models.pages(studies), *map(comparison.page, studies)]:
        shown = [" ".join(row) for row in Cells(render(page)).rows]
        assert not [row for row in shown if re.search(r"\b(nan|None|inf)\b", row)], page.path


def test_pages_of_a_benchmark_without_manifold_and_anchors_from_results_without_thumbnails(digits_study):
    absent = dict.fromkeys(("manifold", "epsilon", "bayes", "reference", "thresholds"))
    benchmark = digits_study.benchmark.model_copy(update={**absent, "epsilons": ()})
    gone = ("response", "sensitivity", "tangent", "log_ratio", "regime", "p_", *columns.ABILITIES)
    kept = [name for name in digits_study.board if not any(part in name for part in gone)]
    bare = tuple(
        dataclasses.replace(
            model,
            rows=model.rows[[name for name in model.rows if not any(part in name for part in gone)]],
            replicates={name: model.replicates[name] for name in model.replicates if name in kept},
            thumbnails=None,
            gallery=None,
            path=None,
        )
        for model in digits_study.models
    )
    read = Study(benchmark, bare, digits_study.board[kept].assign(regime=None))
    text = page_of("digits/noise-0.6", read)
    assert "tangent_energy" not in text and "What its gradients look like" not in text and "Rank 1 of 14" in text
    shown = models.scales(read, bare[0], board_columns.describe(read))
    assert [scale.measured.column.name for scale in shown] == ["alignment", "accuracy"]
    assert comparison.statistics(read) == ["alignment", "accuracy"]
    assert 'pictures":[]' in str(list(comparison.files([read])))


def test_strings_of_a_card_and_of_a_run_stay_text(digits_study):
    model = digits_study.named("digits/noise-0.6")
    card = model.card.model_copy(
        update=dict.fromkeys(("title", "authors", "license", "training_command", "preprocessing"), HOSTILE)
        | {
            "training": {HOSTILE: HOSTILE},
            "reference": f"javascript:alert(3) https://example.org/{HOSTILE} data:text/html,x",
        }
    )
    checks = tuple(Check(name=HOSTILE, verdict="flag", found=HOSTILE, expected=HOSTILE, advice=HOSTILE) for _ in "ab")
    told = Verification(
        benchmark="digits@1", model=HOSTILE, results_sha256="", weights_sha256="", samples=5, seed=0,
        verdict="refuted", reason=HOSTILE, worst_column=HOSTILE, worst_difference=7.0, by=HOSTILE, when="",
        versions={HOSTILE: HOSTILE}, device=HOSTILE,
    ).model_copy(update={"when": HOSTILE})  # fmt: skip
    odd = {
        "command": HOSTILE,
        "versions": HOSTILE,
        "device": [HOSTILE],
        "wall_seconds": HOSTILE,
        "commit": {"a": HOSTILE},
    }
    odd["runs"] = [{"rows": HOSTILE}, odd | {"rows": None}, HOSTILE]
    odd["networks"] = {HOSTILE: {"weights_sha256": HOSTILE}, "score": HOSTILE}
    read = changed(
        digits_study, model.card.id, card=card, preflight=Preflight(checks=checks), verification=told,
        provenance={**model.provenance, **odd},
    )  # fmt: skip
    plain, text = Cells(page_of(model.card.id, digits_study)), page_of(model.card.id, read)
    found = Cells(text)
    assert {tag for tag, _ in found.elements} <= {tag for tag, _ in plain.elements} | {"td", "th", "strong", "h4"}
    assert not [attributes for _, attributes in found.elements for name in attributes if name.startswith("on")]
    links = [attributes for tag, attributes in found.elements if tag == "a" and ":" in attributes["href"]]
    links = [link for link in links if not link["href"].startswith("https://arxiv.org/")]
    assert links and {link["rel"] for link in links} == {"noopener noreferrer"}
    assert all(link["href"].startswith("https://") for link in links)
    assert "{{ 7 * 7 }}" in text and "&lt;script&gt;" in text
    assert "<script>" not in dict(comparison.files([read]))["data/replicates/digits@1/digits/noise-0.6.js"].decode()


def test_bibtex_of_a_hostile_card_is_one_entry_more(digits_study):
    card = digits_study.reference.card.model_copy(update={"authors": HOSTILE, "reference": "}} @misc{x, a = {%"})
    own, text = origins.bibtex(digits_study.reference.card), origins.bibtex(card)
    assert text.endswith(own) and text.count("@") == own.count("@") + 2
    for entry in text.split("\n\n"):
        depth = np.cumsum([{"{": 1, "}": -1}.get(character, 0) for character in entry])
        assert depth.min() == 0 and depth[-1] == 0 and (depth == 0).sum() <= entry.index("{") + 1


def test_bibtex_agrees_with_the_citation_file(digits_study):
    told = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    text, paper = origins.bibtex(digits_study.reference.card), told["references"][0]
    assert f"{{{{{told['title']}}}}}" in text and f"{{{{{told['authors'][0]['name']}}}}}" in text
    assert f"{{{{{paper['title']}}}}}" in text and paper["url"] in text and str(paper["year"]) in text
    assert all(f"{one['family-names']}, {one['given-names']}" in text for one in paper["authors"])
