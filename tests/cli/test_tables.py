"""What commands print fits the terminal: columns are left out, numbers and names are whole."""

import json
import pickle
import re

import pandas as pd
import pytest
from commands import assert_one_line, invoke

import pagbench
from pagbench import benchmarks, results
from pagbench.cli import doctor
from pagbench.cli.tables import aligned
from pagbench.errors import ResultsError, UnknownNameError
from pagbench.ranking import render
from pagbench.ranking.typesetting import TextTable

PUBLISHED = results.PUBLISHED
SHORT = ["rank", "model", "accuracy", "alignment", "PGD L2 0.5", "tangent energy", "regime"]


LONGEST = "fashion-mnist/small-resnet-relu.gradient-norm-1"


@pytest.fixture(scope="module")
def digits():
    return benchmarks.load("digits@2")


@pytest.fixture(scope="module")
def board(digits):
    """The published leaderboard."""
    return pagbench.leaderboard(PUBLISHED, benchmark=digits)


@pytest.fixture(scope="module")
def boards(board):
    """It; and without attacks and with longer names, as that of fashion-mnist@2."""
    attacks = [name for name in board if name.startswith(("pgd_", "adversarial_"))]
    names = board["model"].str.replace("digits/smoothness-", LONGEST).str.replace("digits/", "fashion-mnist/")
    return {"digits": board, "fashion-mnist": board.drop(columns=attacks).assign(model=names)}


@pytest.mark.parametrize("name", ["digits", "fashion-mnist"])
@pytest.mark.parametrize("width", [20, 40, 47, 60, 80, 120, 200, None])
def test_tables_lose_columns_and_neither_digits_nor_names(boards, digits, name, width):
    board = boards[name]
    text = render.to_table(board, digits, width)
    words = text.split()
    collection = re.search(r"Ids without / begin with (\S+/)\.", " ".join(words))
    names = [name.removeprefix(collection[1] if collection else "") for name in board["model"]]
    assert set(names) <= set(words)
    for value, low, high in board[["alignment", "alignment_low", "alignment_high"]].dropna().to_numpy(float):
        assert f"{value:.3f} ±{(high - low) / 2:.3f}" in text
    left_out = " ".join(text.partition("Left out at ")[2].split()).partition(": ")[2].partition(". ")[0]
    shown = [column.header for column in render.select(board, digits)]
    gone = left_out.split(", ") if left_out else []
    further = [heading for heading in shown if heading not in ("rank", "model", "alignment")]
    assert gone == further[len(further) - len(gone) :], "columns go from the right"
    assert not gone if width is None or width >= 80 else "rank" not in gone and "alignment" not in gone
    kept = {"accuracy", "tangent_energy"} - {"tangent_energy" if "tangent energy" in gone else ""}
    kept -= {"accuracy"} if "accuracy" in gone else set()
    assert all(f"{value:.3f}" in words for name in kept for value in board[name].dropna())
    if width is not None and width >= 47:  # rank and alignment alone take 25, the longest name 33
        assert max(map(len, text.splitlines())) <= width


def test_the_short_table_is_short(board, digits):
    """On a wide terminal, too; columns and notes are there for the asking."""
    assert [column.header for column in render.select(board, digits)] == SHORT
    text = render.to_table(board, digits, 300)
    assert "12 notes: pagbench leaderboard --notes; more columns: --columns all." in text and "peak" not in text
    below = render.to_table(board, digits, 80).partition("digits@2: ")[2].splitlines()
    assert len(below) == 4 and "No rank: controls." in " ".join(below)
    whole = render.to_table(board, digits, 80, columns="all", notes=True)
    assert "notes: " not in whole and "peak sigma" in whole and "Retraining: " in whole


def test_legends_name_who_has_no_rank(board, digits):
    """Up to three by name."""
    some = board.copy()
    some.loc[:1, "rank"] = pd.NA
    assert "No rank: controls, digits/adversarial-0.8, digits/noise-0.6." in render.legend(some, digits)
    some["rank"] = pd.NA
    assert "No rank: controls, 14 models." in render.legend(some, digits)


def test_legends_name_who_was_measured_on_some_images(board, digits):
    some, whole = board.copy(), len(digits.samples)
    assert "of 360 images" not in render.legend(some, digits) and whole == 360
    some.loc[:1, "n_total"] = 20
    some.loc[2:6, "n_total"] = 40
    said = render.legend(some, digits)
    assert "20 of 360 images: digits/adversarial-0.8, digits/noise-0.6. 40 of 360 images: 5 models." in said


def test_a_heading_is_not_broken_where_the_one_before_leaves_room():
    wide, narrow = (
        TextTable(["model", "value ↑", "b c"], [[name, "0.25", "1"]], (0,), 0).lines(wrapped=True)
        for name in ("a-long-name", "model")
    )
    assert wide[:2] == ["                    b", "model      value ↑  c"]
    assert narrow[:2] == ["       value  b", "model      ↑  c"]


def test_a_long_name_has_a_line_of_its_own_above_its_numbers():
    table = TextTable(["rank", "model", "value ↑"], [["1", "a-long-name", "0.25"], ["2", "b", "0.125"]], (0, 1), 1)
    assert table.lines(gap=1, wrapped=True) == [
        "rank model     value ↑",
        "──────────────────────",
        "1    a-long-name  0.25",
        "2    b           0.125",
    ]
    assert table.lines(gap=1, wrapped=True, room=5) == [
        "           value",
        "rank model     ↑",
        "────────────────",
        "1    a-long-name",
        "            0.25",
        "2    b     0.125",
    ]
    assert table.lines(room=6)[2:4] == ["1     a-long-name", "         0.25"] or table.room(22, gap=1) == 11


def test_columns_are_named_by_name_or_heading_and_asked_for_they_are_all_shown(board, digits):
    headings, names = ["Tangent Energy", "1 - LPIPS", "log off/on", "model"], ["tangent_energy", "alignment_lpips"]
    by_name = render.to_table(board, digits, 60, columns=[*names, "log_ratio", "model"])
    assert render.to_table(board, digits, 60, columns=headings) == by_name and "Left out" not in by_name
    assert [column.name for column in render.select(board, digits, ["robust accuracy"])] == ["pgd_l2_0.5"]
    every = render.to_table(board, digits, 60, columns="all")
    assert max(map(len, every.splitlines())) > 60 and "digits/gradient-norm-0.1" in every, "lines run over"
    assert render.to_markdown(board, digits, columns=["model", "alignment"]).startswith(
        "| model | alignment ↑ |\n|---|---:|\n"
    )
    with pytest.raises(UnknownNameError, match="unknown column 'tangent enrgy'; closest: tangent energy"):
        render.select(board, digits, ["tangent enrgy"])


def test_the_command_line_names_columns():
    def printed(*options):
        done = invoke("leaderboard", "-b", "gaussians", "-r", PUBLISHED, *options, width=60)
        assert done.exit_code == 0, done.output
        return done.stdout

    csv = printed("--columns", "rank,Model, status", "--format", "csv").splitlines()
    assert csv[:2] == ["rank,model,status", "1,gaussians/gradient-norm-0.01,ranked"]
    rows = json.loads(printed("--columns", "short", "--format", "json"))
    assert list(rows[0]) == ["rank", "model", "accuracy", "alignment", "tangent_energy", "regime"]
    assert len(json.loads(printed("--columns", "all", "--format", "json"))[0]) > 80
    listed = printed("--columns", "list").split()
    assert {"tangent_energy", "verification"} <= set(listed)
    mistyped = invoke("leaderboard", "-b", "gaussians", "-r", PUBLISHED, "--columns", "model,tangent enrgy")
    assert_one_line(mistyped, "unknown column 'tangent enrgy'; closest: tangent energy")


def test_sorting_by_a_heading_puts_the_better_first():
    for column, heading in (("tangent_energy", "tangent energy"), ("log_ratio", "log off/on ↓")):
        found = pagbench.leaderboard(PUBLISHED, benchmark="gaussians", sort=heading).dropna(subset="rank")[column]
        assert found.is_monotonic_decreasing if column == "tangent_energy" else found.is_monotonic_increasing


def test_the_benchmark_follows_the_folder(tmp_path):
    """Digits where it has them, or the one that it has."""
    (tmp_path / "sphere@1").symlink_to(PUBLISHED / "sphere@1")
    done = invoke("leaderboard", "-r", tmp_path)
    assert "sphere/standard" in done.stdout and f"benchmark: sphere@1, the one that {tmp_path}" in done.stderr
    assert pagbench.leaderboard(tmp_path).definition.label == "sphere@1"
    (tmp_path / "gaussians@1").symlink_to(PUBLISHED / "gaussians@1")
    done = invoke("leaderboard", "-r", tmp_path)
    assert_one_line(done, "results of gaussians@1, sphere@1; name one with --benchmark")
    with pytest.raises(ResultsError, match=r"several benchmarks \(gaussians@1, sphere@1\); name one with benchmark="):
        pagbench.leaderboard(tmp_path)
    (tmp_path / "digits@1").symlink_to(PUBLISHED / "digits@1")
    done = invoke("leaderboard", "-r", tmp_path, "--columns", "list")
    assert done.exit_code == 0 and "benchmark: " not in done.stderr


def test_a_notebook_shows_the_short_table_and_the_frame_has_all():
    board = pagbench.leaderboard(PUBLISHED, benchmark="sphere")
    shown = board._repr_html_()
    assert ">tangent energy ↑</th>" in shown and ">log off/on ↓</th>" not in shown
    assert "<style" not in shown, "it would hold for other tables, too"
    assert '<th style="text-align: left">model</th>' in shown
    assert '<td style="text-align: left">sphere/standard</td>' in shown
    assert re.search(r"""<td style="text-align: left; white-space: nowrap">1( \(|<)""", shown)
    assert "±" in shown and "no result: accuracy 0.333 is not above chance" in shown
    assert f"{len(board)} rows × {len(board.columns)} columns." in shown
    every = pagbench.leaderboard(PUBLISHED, benchmark="sphere", columns="all")
    assert ">log off/on ↓</th>" in every._repr_html_() and ">status</th>" in every._repr_html_()
    pd.testing.assert_frame_equal(pd.DataFrame(every), pd.DataFrame(board))
    assert pagbench.leaderboard(PUBLISHED, "sphere", columns="ALL")._repr_html_() == every._repr_html_()
    named = pagbench.leaderboard(PUBLISHED, "sphere", columns=["alignment", "Alignment"])._repr_html_()
    assert re.findall("<th [^>]*>(.*?)</th>", named) == ["model", "alignment ↑"]
    again = pickle.loads(pickle.dumps(board))
    assert again._repr_html_() == shown
    assert type(board[["model", "rank"]]) is type(board.isna()) is type(board.T) is pd.DataFrame
    rows = [board.head(1), board[board["rank"] == 1], board.query("rank == 1"), board.sort_values("rank").iloc[:1]]
    for taken in (*rows, pickle.loads(pickle.dumps(rows[0]))):
        short = taken._repr_html_()
        assert ">tangent energy ↑</th>" in short and ">log off/on ↓</th>" not in short and "1 row × " in short
        assert "No regimes" not in short, "they are judged, though the anchors are not among the rows"
    changed = [board.rename(columns={"rank_low": "low"}), pd.concat([board, board], axis=1), board.set_index("model")]
    changed.append(pagbench.leaderboard(PUBLISHED, "sphere", columns="accuracy").rename(columns={"accuracy": "share"}))
    assert all("<table" in frame._repr_html_() and "±" not in frame._repr_html_() for frame in changed)
    assert "±" in board.round(2)._repr_html_() and "<table" in board.head(0)._repr_html_()
    again["model"] = "<script>"
    assert "<script>" not in again._repr_html_()
    del again["status"]
    assert "<table" in again._repr_html_(), "pandas's own view of what was changed"
    with pytest.raises(ResultsError, match="no columns are named"):
        pagbench.leaderboard(PUBLISHED, "sphere", columns=[])
    with pytest.raises(ResultsError, match="is sorted by one column"):
        pagbench.leaderboard(PUBLISHED, "sphere", sort=["alignment"])
    with pytest.raises(UnknownNameError, match="closest: regime"):
        pagbench.leaderboard(PUBLISHED, benchmark="sphere", columns=["regimes"])


def test_listed_texts_are_wrapped_beside_or_below(monkeypatch):
    rows = [("name", "size", "meaning"), ("first", "1", "some words that are wrapped"), ("second", "22", "one")]
    assert aligned(rows).splitlines()[1] == "first   1     some words that are wrapped"
    monkeypatch.setenv("COLUMNS", "40")
    assert aligned(rows).splitlines()[1:3] == ["first   1     some words that are", "              wrapped"]
    rows.append(("third", "3", "a-word-of-thirty-characters---"))
    assert aligned(rows).splitlines()[:2] == ["name    size", "    meaning"]


def test_texts_below_their_row_stand_in_columns(monkeypatch):
    rows = [("name", "kind", "size"), ("a-long-name" * 3, "wide-word", "1"), ("b", "", "22")]
    monkeypatch.setenv("COLUMNS", "40")
    assert aligned(rows).splitlines() == [
        "name", "    kind       size", "a-long-name" * 3, "    wide-word  1", "b", "               22"
    ]  # fmt: skip


COMMANDS = [
    "leaderboard -b digits --columns list",
    "list models", "list benchmarks", "list measures", "list models --source robustbench --threat L2",
    "compare gaussians/standard gaussians/gradient-norm-1 -b gaussians", "show gaussians/standard",
    "show digits@2", "check control/constant -b gaussians", "tangents gaussians --images 2", "doctor -b digits",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_printed_fits_a_terminal_of_80_and_120_characters(command, monkeypatch):
    """No line is longer, unless it is a single word; no word of a wide terminal's is broken in a narrower one."""
    monkeypatch.setattr(doctor, "start_probe", lambda _: None)
    if command.startswith(("compare", "show gaussians")):
        command += f" -r {PUBLISHED}"
    printed = {width: invoke(*command.split(), width=width).stdout for width in (80, 120, 1000)}
    for width in (80, 120):
        for line in printed[width].splitlines():
            assert len(line) <= width or len(line.strip("# $").split()) == 1, line
    clock = re.compile(r"\d+\.\d+ ms|\d+(\.\d+)? GB")
    words = [sorted(word for word in clock.sub("", text).split() if "─" not in word) for text in printed.values()]
    assert words[0] == words[1] == words[2]
