"""One thread, turns, and the table at the end."""

import pairs
import pytest
import torch

ROWS = pytest.StashKey[list[pairs.Row]]()


def pytest_addoption(parser):
    parser.addoption("--table", action="store_true", help="write the table into benchmarks/results.md and the docs")


def pytest_configure(config):
    config.stash[ROWS] = []
    torch.set_num_threads(1)  # the ratios are of work, not of how well it spreads over cores


@pytest.fixture
def told(request):
    """Adds a line to the table; a required ratio that is missed fails the benchmark."""

    def add(row):
        request.config.stash[ROWS].append(row)
        assert "no" not in row.verdict, f"{row.what}: {row.found}, required {row.required}"

    return add


@pytest.fixture
def turns(benchmark):
    """Times two sides in turns: seconds of pagbench, and of the other, by round; both have run once before."""

    def time_both(ours, other, rounds):
        theirs = []

        def before():
            theirs.append(pairs.seconds(other))

        ours()
        benchmark.pedantic(ours, setup=before, rounds=rounds)
        return list(benchmark.stats.stats.data), theirs

    return time_both


def pytest_terminal_summary(terminalreporter, config):
    rows = config.stash[ROWS]
    if rows:
        terminalreporter.write_line("")
        terminalreporter.write_line(pairs.render(rows))
        if config.option.table:
            pairs.write(rows)
