"""The picture of a validation shows the numbers of its record."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from pagbench import benchmarks
from pagbench.benchmarks import validation
from pagbench.benchmarks.validation import UNKNOWN, Validation
from pagbench.cli import app
from pagbench.errors import ContractError, ResultsError
from pagbench.reports.figures import ruler

PICTURES = Path(__file__).parent.parent.parent / "docs" / "figures"
COLUMNS = ("error", "accuracy", "nll", "halves")


@pytest.fixture(scope="module")
def known():
    return validation.published("digits@2")


@pytest.fixture(scope="module")
def edition():
    return benchmarks.load("digits@2")


@pytest.fixture(scope="module")
def figure(known, edition):
    return ruler.draw(known, edition)


def curves(axis):
    return [line for line in axis.lines if len(line.get_xdata()) > 2]


@pytest.mark.parametrize("column", COLUMNS)
def test_every_density_is_drawn_over_sigma(figure, known, edition, column):
    axis = figure.axes[COLUMNS.index(column)]
    drawn = {line.get_label(): line for line in curves(axis) if line.get_linestyle() == "-"}
    for name in ("mixture", "empirical", "class means"):
        rows = [row for row in known.densities if row.density == name]
        np.testing.assert_allclose(drawn[name].get_xdata(), [row.sigma for row in rows])
        np.testing.assert_allclose(drawn[name].get_ydata(), [getattr(row, column).value for row in rows])
    (mark,) = [line for line in axis.lines if len(line.get_xdata()) == 2]
    assert set(mark.get_xdata()) == {edition.sigma}


def test_the_ceiling_is_beside_the_halves_alone(figure, known):
    dashed = [[line for line in curves(axis) if line.get_linestyle() == "--"] for axis in figure.axes]
    assert [len(lines) for lines in dashed] == [0, 0, 0, 1]
    np.testing.assert_allclose(dashed[3][0].get_ydata(), [bound.value for bound in known.ceilings.values()])


def test_a_network_has_no_classes_and_no_halves(known, edition):
    """Its curves are left out where it has no values, and no ceiling is drawn or told."""
    bare = [row.model_copy(update=dict.fromkeys(("nll", "accuracy", "halves"), UNKNOWN)) for row in known.own]
    alone = known.model_copy(update={"densities": tuple(bare)})
    figure = ruler.draw(alone, edition)
    assert [len(curves(axis)) for axis in figure.axes] == [1, 0, 0, 0]
    assert "ceiling" not in ruler.caption(alone, edition)
    assert "ceiling" in ruler.caption(known, edition)


def test_a_record_without_the_newer_fields_is_drawn_alike(known, edition, figure):
    fields = json.loads((validation.FOLDER / "digits@2.json").read_text())
    del fields["lpips"], fields["passes"]
    older = ruler.draw(Validation.model_validate(fields), edition)
    for one, other in zip(figure.axes, older.axes, strict=True):
        assert [list(line.get_ydata()) for line in one.lines] == [list(line.get_ydata()) for line in other.lines]


@pytest.mark.parametrize(
    ("name", "start"), [("a.png", b"\x89PNG"), ("new/folder/b.pdf", b"%PDF"), ("c.d.png", b"\x89PNG")]
)
def test_the_suffix_says_the_format(known, edition, tmp_path, name, start):
    assert ruler.save(known, edition, tmp_path / name).read_bytes().startswith(start)


@pytest.mark.parametrize("name", ["ruler", "ruler.svg", "ruler.PNG", "ruler.png.txt", ".png"])
def test_other_names_are_refused_before_anything_is_computed(tmp_path, name):
    with pytest.raises(ContractError, match=r"a figure is a PNG or a PDF; give a name that ends in \.png or \.pdf"):
        ruler.check_name(tmp_path / name)
    done = CliRunner().invoke(app, ["validate", "digits@2", "--figure", str(tmp_path / name)])
    assert done.exit_code == 2
    assert "computing" not in done.output
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses_is_one_line(known, edition, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError):
        ruler.save(known, edition, tmp_path / "file" / "a.png")


def test_the_command_draws(tmp_path):
    path = tmp_path / "ruler.png"
    given = ["validate", "digits@1", "--images", "10", "--device", "cpu", "--figure", str(path)]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    assert f"figure: {path}" in done.output
    assert min(Image.open(path).size) > 600


def test_published_records_have_pictures_of_which_pages_are_made():
    page = (PICTURES.parent / "explanation" / "ruler.md").read_text(encoding="utf-8")
    for label in filter(validation.published, benchmarks.names()):
        picture = PICTURES / f"validation-{label}.png"
        assert picture.stat().st_size <= 60_000
        assert len(Image.open(picture).getcolors(256)) > 16
        assert f"(../figures/{picture.name})" in page
