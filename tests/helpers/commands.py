"""The command line, called in this process."""

from typer.testing import CliRunner

from pagbench.cli import app


def invoke(*arguments, width=200):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": str(width)})


def assert_one_line(result, *parts):
    lines = result.stderr.strip().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert result.exit_code == 2, result.output
    assert len(errors) == 1, result.stderr
    assert "Traceback" not in result.output
    for part in parts:
        assert part in errors[0], errors[0]
