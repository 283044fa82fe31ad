"""Examples in the documents run: the tutorial and the notebook from top to bottom, commands by their options."""

import json
import re
import shlex
from pathlib import Path
from textwrap import dedent

import pytest
import typer

from pagbench.cli import app

ROOT = Path(__file__).parent.parent.parent
DOCUMENTS = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))]
DOCUMENTS += ["README.md", "CONTRIBUTING.md", "SECURITY.md"]
FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
WORD = re.compile(r"[A-Za-z][\w/.-]*")


def blocks(name, *languages):
    """What a document shows in code blocks of these languages, with the language."""
    text = (ROOT / name).read_text(encoding="utf-8")
    found = [(language, dedent(content)) for _, language, content in FENCED.findall(text)]
    return [(language, content) for language, content in found if language in languages]


def execute(code, names):
    exec(compile(code, "example", "exec"), names)


def test_the_tutorial_runs_and_prints_what_it_shows(tmp_path, monkeypatch, capsys, short_runs):
    monkeypatch.chdir(tmp_path)
    names = {}
    printed = ""
    for language, content in blocks("docs/tutorial.md", "python", "text"):
        if language == "python":
            execute(content, names)
            printed = capsys.readouterr().out.removesuffix("dtype: float64\n")
        else:
            assert sorted(WORD.findall(printed)) == sorted(WORD.findall(content))
    board = names["board"].set_index("model")
    assert board.loc["mine-noise", "rank_high"] < board.loc["mine", "rank_low"]
    assert board.loc["mine", "accuracy"] > board.loc["mine-noise", "accuracy"]
    assert (tmp_path / "gradients.png").stat().st_size > 1000


def test_the_notebook_runs_and_has_no_outputs(tmp_path, monkeypatch, short_runs):
    notebook = json.loads((ROOT / "docs" / "quickstart.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] for cell in cells)
    monkeypatch.chdir(tmp_path)
    names = {}
    for cell in cells[:-1]:
        execute("".join(cell["source"]).replace("range(300)", "range(60)"), names)
    assert "mine" in set(names["board"]["model"]) and len(names["board"]) > 10
    figure = eval("".join(cells[-1]["source"]), names)
    assert len(figure.axes) == 4 * 4  # images; each with target and two gradients


def test_reading_a_results_file_without_pagbench(monkeypatch):
    monkeypatch.chdir(ROOT)
    names = {}
    for _, content in blocks("docs/reference/files.md", "python"):
        execute(content, names)
    assert names["provenance"]["card"]["id"] == "digits/standard"


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if blocks(name, "python")])
def test_python_in_documents_is_python(name):
    for _, content in blocks(name, "python"):
        compile(content, name, "exec")


def commands(name):
    """The arguments of every call of pagbench in code blocks and in inline code."""
    shown = "\n".join(content for _, content in blocks(name, "", "bash", "console")).replace("\\\n", " ")
    calls = re.findall(r"\bpagbench (?=[a-z.])([^\n|]*)", shown)
    text = FENCED.sub("", (ROOT / name).read_text(encoding="utf-8"))
    calls += re.findall(r"`pagbench ([a-z][^`\n]*)`", text)
    return [shlex.split(call, comments=True) for call in calls]


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if commands(name)])
def test_commands_in_documents_exist_with_their_options(name):
    for arguments in commands(name):
        check_call(arguments)


def check_call(arguments):
    """Fails where there is no such command, or it has no such option."""
    command, rest = typer.main.get_command(app), list(arguments)
    while hasattr(command, "commands") and rest:
        assert rest[0] in command.commands, f"no command {rest[0]}"
        command = command.commands[rest.pop(0)]
    command.make_parser(command.context_class(command)).parse_args(rest)  # or it names the option that is wrong


def test_a_command_that_does_not_exist_is_seen():
    with pytest.raises(AssertionError, match="no command measure"):
        check_call(["measure", "digits/standard"])
    with pytest.raises(Exception, match="No such option: --bench"):
        check_call(["run", "digits/standard", "--bench", "digits"])
