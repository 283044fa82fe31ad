"""Texts of others in a terminal, in Markdown and in CSV: never more than text."""

import csv
import io
import json

import pandas as pd
import pytest
from commands import invoke
from written import KEPT, change, copy

import pagbench
from pagbench import columns, results
from pagbench.errors import hidden, in_csv, in_markdown, printable
from pagbench.ranking import pairs, render
from pagbench.reports import export
from pagbench.results import files

SPELT = {
    "\x1b[2J": "\\x1b[2J",
    "a\x9b2Jb": "a\\x9b2Jb",
    "a\x07b": "a\\x07b",
    "a\u202eb": "a\\u202eb",
    "a\u2066b": "a\\u2066b",
    "a\u200bb": "a\\u200bb",
    "a\ufeffb": "a\\ufeffb",
    "a\u00adb": "a\\xadb",
    "a\u3164b": "a\\u3164b",
    "a\u2800b": "a\\u2800b",
    "a\ufe0fb": "a\\ufe0fb",
    "a\U000e0041b": "a\\U000e0041b",
    "a\ud800b": "a\\ud800b",
    "\ue000": "\\ue000",
}
PLAIN = ("naïve", "é", "数字", "ελ", "🙂", "a\u00a0b", "σ = 0.5", "−1 ± 2", "a b")


@pytest.mark.parametrize("text", SPELT)
def test_marks_that_nobody_sees_are_spelt_out(text):
    assert hidden(text) is not None
    assert printable(text) == in_csv(text) == SPELT[text]
    assert in_markdown(text).replace("\\\\", "\\").replace("\\[", "[") == SPELT[text]


@pytest.mark.parametrize("text", PLAIN)
def test_texts_of_all_scripts_stay_as_they_are(text):
    assert hidden(text) is None
    assert printable(text) == text.replace("\u00a0", " ")


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "a\tb", "a\u2028b", "a\x85b", "a\x0bb", " a  b "])
def test_a_text_is_one_line(text):
    assert printable(text) == in_markdown(text) == in_csv(text) == "a b"


@pytest.mark.parametrize(
    "text",
    ["=1+2", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "\n=cmd|' /C calc'!A0", "＝1", "＋1", "－1", "＠a", "−1"],
)
def test_nothing_is_a_formula_to_a_spreadsheet(text):
    assert in_csv(text).startswith("'") and in_csv(in_csv(text)) == in_csv(text)


@pytest.mark.parametrize(
    "text",
    [
        "[a](javascript:alert(1))", "![a](https://a.b/c.png)", "<img src=x onerror=alert(1)>", "`rm`", "a | b", "*b*",
        "__b__", "~~b~~", "$x$", "&lt;b&gt;", "<https://a.b>", "https://a.b", "www.a.b", "[a]: https://a.b", "a\n# b",
    ],
)  # fmt: skip
def test_markdown_is_shown_as_it_is_written(text):
    markdown_it = pytest.importorskip("markdown_it")
    html = (
        markdown_it.MarkdownIt("gfm-like", {"linkify": False, "html": True}).enable("table").render(in_markdown(text))
    )
    (open_, rest, close) = (html[:3], html[3:-5], html[-5:])
    assert (open_, close) == ("<p>", "</p>\n") and "<" not in rest, html


HOSTILE = "=x|[a](javascript:b) <b> `c` *d*"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, digits):
    """Results of a model whose authors have written what they like, within the rules."""
    home = copy(tmp_path_factory.mktemp("texts"), *KEPT)
    path = home / "digits@1/digits/noise-0.6.parquet"
    checks = [{"name": "=batch", "verdict": "flag", "found": HOSTILE, "expected": HOSTILE, "advice": HOSTILE}]
    kept = results.read(path, columns.schema(digits))
    change(
        path,
        preflight={"checks": checks},
        card={**kept.document["card"], "license": HOSTILE, "title": HOSTILE, "training_command": "curl x | sh"},
    )
    return home


def test_formulas_and_links_reach_no_format(folder, digits):
    board = pagbench.leaderboard(folder, benchmark=digits)
    listed = list(csv.reader(io.StringIO(render.to_csv(board, digits))))
    cells = [cell for row in listed for cell in row]
    assert f"'{HOSTILE}" in cells and not [cell for cell in cells if cell[:1] in "=+@" and cell]
    numbers = pd.read_csv(io.StringIO(render.to_csv(board, digits)))
    assert (numbers["log_ratio"] < 0).any(), "numbers stay numbers"
    markdown = render.to_markdown(board, digits, columns="all", notes=True)
    assert "](javascript" not in markdown.replace("\\]", "") and "<b>" not in markdown.replace("\\<", "")
    table = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1
    assert json.loads(render.to_json(board, digits))
    compared = pairs.pair(folder, "digits/noise-0.6", "digits/standard", benchmark=digits)
    assert "\n=" not in pairs.to_csv(compared) and ",=" not in pairs.to_csv(compared)
    assert pairs.to_json(compared).isascii() and export.badge(export.find(folder, "digits/noise-0.6", digits)).to_json()


@pytest.mark.parametrize("form", render.FORMATS)
def test_texts_of_a_data_frame_reach_no_terminal_either(digits, form):
    """Its rows were never in a file."""
    kept = results.read(files.Path(results.PUBLISHED) / "digits@1/digits/noise-0.6.parquet", columns.schema(digits))
    rows = results.to_frame([kept])
    rows.attrs["licenses"] = {"digits/noise-0.6": "\x1b]0;x\x07\u202e=1"}
    rows.attrs["preflight"] = {"digits/noise-0.6": {"checks": [{"name": "x", "verdict": "flag", "found": "\x1b[2J\n"}]}}
    text = render.FORMATS[form](pagbench.leaderboard(rows, benchmark=digits), digits)
    assert all(line.isprintable() for line in text.split("\n"))


def test_commands_print_lines(folder):
    for command in (
        ["leaderboard", "-b", "digits@1"], ["show", "digits/noise-0.6"],
        ["compare", "digits/noise-0.6", "digits/standard", "-b", "digits@1"],
    ):  # fmt: skip
        done = invoke(*command, "-r", folder)
        assert done.exit_code == 0 and all(line.isprintable() for line in done.output.split("\n"))


def test_only_a_command_of_pagbench_is_shown_as_one(folder, tmp_path):
    done = invoke("site", "-r", folder, "-o", tmp_path)
    assert done.exit_code == 0, done.output
    page = (tmp_path / "models/digits/noise-0.6.html").read_text()
    assert "<code>curl" not in page and "curl x | sh" in page and "Train the model again" not in page
    assert "javascript:b" in page and 'href="javascript' not in page
    assert "Train the model again" in (tmp_path / "models/digits/standard.html").read_text()
    sheet = (tmp_path / "data/digits@1.csv").read_text()
    assert ",=" not in sheet and "\n=" not in sheet


TRAIN = "pagbench train digits --family noise --strength 0.6"


@pytest.mark.parametrize(
    "text",
    [
        f"{TRAIN}; rm -rf .", f"{TRAIN} && x", f"{TRAIN} | sh", f"{TRAIN} > x", f"{TRAIN} `x`", f"{TRAIN} $(x)",
        f"{TRAIN}\nx", f"{TRAIN} & x", f"{TRAIN} $HOME", f"{TRAIN} ~/x", f"{TRAIN} 'a b'", "sudo pagbench train digits",
        "pagbench training digits", "pagbench verify x", "pagbench  train digits", "curl x | sh", "", None, 3,
        f"{TRAIN} \u202e", f"{TRAIN} *", f"{TRAIN} (x)", f"{TRAIN} {{a,b}}", f"{TRAIN} \\x", "pagbench.train digits",
        f"{TRAIN} !x", f"{TRAIN} #x", f"X=1 {TRAIN}",
    ],
)  # fmt: skip
def test_what_a_shell_would_act_on_is_no_command(text):
    from pagbench.reports.site import origins

    assert origins._command(text, "train") == "" and origins._command(TRAIN, "train") == TRAIN


def test_what_only_some_programs_read_as_more_than_text_is_none():
    assert in_csv("MIT;=1+cmd|x") == "MIT;'=1+cmd|x" and in_csv("a-b;c") == "a-b;c"
    assert in_markdown("x @torvalds see #1, digits@1") == "x @<!-- -->torvalds see #<!-- -->1, digits@1"
    for text in ("a\u2065b", "a\ufff0b", "a\U0001d159b", "a" + "\u0301" * 30):
        assert hidden(text) is not None, ascii(text)
    for text in ("e\u0301\u0323 naïve 数字 🙂", "a new one, \U0001fae8"):
        assert hidden(text) is None, ascii(text)
