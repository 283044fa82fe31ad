"""Pages of a board whose rows are recipes: rows that open their networks, pages of these, and both rankings."""

import io
import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest

from pagbench import columns, results
from pagbench.ranking import render as text
from pagbench.reports import export
from pagbench.reports.site import benchmark, building, comparison, models, table
from pagbench.reports.site.rendering import render
from pagbench.studies.models import read_study

NETWORKS = ("digits/noise-0.6", "digits/noise-0.6.seed1")
ON_TARGET = ("digits/smoothness-10", "digits/smoothness-300")


@pytest.fixture(scope="module")
def recipes(digits):
    """Digits by recipes."""
    return digits.model_copy(update={"ranking": "recipes"})


@pytest.fixture(scope="module")
def study(recipes, digits, tmp_path_factory):
    """Some published results; another network beside one, and two that declare to be trained on the target."""
    place = tmp_path_factory.mktemp("recipes")
    kept = {result.name: result for result in results.read_all(results.PUBLISHED, digits)}
    card = kept[NETWORKS[0]].document["card"]
    plain = ("control/bayes", "digits/standard", NETWORKS[0], "digits/gradient-norm-1")
    changed = {name: {} for name in plain}
    changed["digits/noise-0.15"] = card | {"id": NETWORKS[1], "seed": 1}
    changed |= {name: {"trained_on_target": True} for name in ON_TARGET}
    for name, fields in changed.items():
        own = kept[name].document["card"] | fields
        document = kept[name].document | {"card": own, "benchmark_digest": recipes.digest(), "made": None}
        rows = kept[name].rows[columns.schema(digits).names]
        rows = rows.assign(entrant=own["id"], family=own["family"], strength=own.get("strength"))
        path = results.path_of(place, digits, own["id"])
        results.write(path, results.Result(rows, document), columns.schema(digits))
    return read_study(place, recipes)


def test_a_row_opens_its_networks(study):
    page = render(benchmark.page(study, table.downloads(study)))
    assert page.count('<details class="networks">') == 1 and "2 networks" in page
    found = re.search(r'<details class="networks">.*?</details>', page, re.S)[0]
    assert re.findall(r'href="\.\./models/([^"]*)\.html"', found) == list(NETWORKS)
    assert "Trained on the target, ranked apart" in page
    data = {row["id"]: row for row in table.content(study, [])["table"]["data"]["rows"]}
    assert [row["section"] for row in data.values()].count("target") == 2
    assert data["digits/smoothness-10"]["rank"] and NETWORKS[1] not in data


def test_every_network_has_a_page_of_its_own_with_the_rank_of_its_recipe(study):
    pages = {page.title: page for page in models.pages([study])}
    assert set(NETWORKS) <= set(pages)
    for name in NETWORKS:
        said = models.summary(study, study.named(name))
        assert ", shared by the 2 networks of its recipe: alignment" in said
        value = study.named(name).replicates["alignment"][0]
        assert study.interval(name, "alignment").value == pytest.approx(value)
        assert "as those of its recipe's row do" in render(pages[name])
    mean = np.mean([study.named(name).replicates["accuracy"][0] for name in NETWORKS])
    assert study.row_interval(NETWORKS[0], "accuracy").value == pytest.approx(mean)
    assert "of those trained on the target" in models.summary(study, study.named("digits/smoothness-10"))


def test_the_best_of_each_ranking_is_told(study):
    found = benchmark.verdict(study)
    assert found.best.trained_on_target is not True and found.untrained is None
    assert found.on_target.trained_on_target and found.apart == 2
    assert found.ranked + found.apart == (study.board["status"] == "ranked").sum()


def test_comparisons_are_of_recipes_and_of_further_networks(study):
    written = dict(comparison.files([study]))
    names = comparison.page(study).content["setting"]["networks"]
    assert set(NETWORKS) <= set(names) and len(written) == len(study.models)
    row, own = study.replicates(study.named(NETWORKS[0])), study.named(NETWORKS[0]).replicates
    assert np.std(row["alignment"]) > np.std(own["alignment"]), "retraining is in it"


def test_badges_and_exports_name_the_rank_of_the_recipe(study):
    badges = dict(building.badges([study]))
    first, second = (badges[f"badges/digits@1/{name}.json"] for name in NETWORKS)
    assert first == second and b"rank" in first
    assert b"of 2 of those trained on the target" in badges["badges/digits@1/digits/smoothness-10.json"]
    row = study.entries[NETWORKS[0]]
    assert export.Standing(study.benchmark, row, study.ranked_beside(row)).place.startswith(f"rank {row['rank']}")


def test_downloads_have_the_networks(study):
    files = {file.format: file.content for file in table.downloads(study)}
    shown = {row["model"]: row for row in json.loads(files["JSON"])}
    stored = {row["model"]: row for row in pq.read_table(io.BytesIO(files["Parquet"])).to_pylist()}
    for rows in (shown, stored):
        assert [one["id"] for one in rows[NETWORKS[0]]["networks"]] == list(NETWORKS)
        assert rows["control/bayes"]["networks"] is None
    assert " ".join(NETWORKS).encode() in files["CSV"]
    assert NETWORKS[1] in text.to_table(study.board, study.benchmark, networks=True)
