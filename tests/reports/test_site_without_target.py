"""The pages of a benchmark whose images define no target: no alignment, no rank, nothing to compare."""

import re

import invented
import pytest

from pagbench import benchmarks
from pagbench.reports.site import building

LABEL = "samples-cifar10@1"
OURS = re.compile(r"<h3>Where it stands.*?<h2 id=\"card\">", re.DOTALL)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder, benchmark = tmp_path_factory.mktemp("results"), benchmarks.load(LABEL)
    for index, name in enumerate(("cifar10/a", "cifar10/b")):
        invented.write(folder, benchmark, name, index, wall_seconds=3.0)
    written = building.contents(building.read(folder))
    return {path: content.decode(errors="replace") for path, content in written.items()}


def test_the_board_says_why_nobody_is_ranked(pages):
    shown = pages[f"benchmarks/{LABEL}.html"]
    assert "No model is ranked here: 20 images define no target" in shown
    assert 'id="plots"' not in shown and '"compare":null' in shown
    assert not re.search(r'"name":"(alignment|tangent_energy|log_ratio|regime|rank)', shown)
    assert '"name":"seconds_per_image"' in shown


def test_a_models_page_shows_accuracy_and_time_and_no_alignment(pages):
    shown = pages["models/cifar10/a.html"]
    assert "0.15 s per image" in shown and "No rank: 20 images define no target" in shown
    said = OURS.search(shown).group()
    assert not re.search(r"align|cosine|tangent|log_ratio|on_response|regime", said, re.IGNORECASE)
    assert "compare/" not in shown


def test_there_is_no_page_to_compare_on(pages):
    assert not [path for path in pages if path.startswith(("compare/", "data/replicates"))]
    assert "Compare it with" not in pages["index.html"]


def test_downloads_hold_no_column_of_alignment(pages):
    header = pages[f"data/{LABEL}.csv"].splitlines()[0]
    assert "alignment" not in header and "accuracy" in header
