"""What is read from a folder is what the rows say, whatever is kept in memory of them; shortcuts change no number."""

import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, kendalltau

import pagbench
from pagbench import benchmarks, results
from pagbench.ranking import board, render, statistics

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import big_results  # noqa: E402

MEMORY = """
import resource, sys
from pathlib import Path
import big_results
from pagbench.ranking import leaderboard

def peak(folder):
    leaderboard(Path(folder), benchmark=big_results.definition(4000))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

few, many = map(peak, sys.argv[1:])
sys.stdout.write(str(many - few))
"""


@pytest.fixture(scope="module")
def invented(tmp_path_factory):
    """A folder of six models on 300 samples: one lacks samples, one values."""
    folder, benchmark = tmp_path_factory.mktemp("invented"), big_results.definition(300)
    big_results.write(folder, benchmark, 6)
    for index, edit in ((3, _without_samples), (4, _without_values)):
        name = big_results.names(benchmark, 6)[index]
        made = results.Result(
            edit(big_results.rows(benchmark, index, name)), big_results.provenance(benchmark, index, name)
        )
        results.write(results.path_of(folder, benchmark, name), made, pagbench.columns.schema(benchmark))
    return folder, benchmark


def _without_samples(rows):
    return rows.iloc[20:]


def _without_values(rows):
    return rows.assign(alignment_second=rows["alignment_second"].where(rows.index % 7 > 0))


def test_a_folder_read_model_by_model_gives_the_board_of_all_rows_at_once(invented):
    folder, benchmark = invented
    streamed = pagbench.leaderboard(folder, benchmark=benchmark)
    whole = pagbench.leaderboard(results.to_frame(results.read_all(folder, benchmark)), benchmark=benchmark)
    pd.testing.assert_frame_equal(streamed, whole, rtol=1e-12)
    assert streamed["rank"].notna().sum() == 4
    assert streamed["regime"].notna().any()
    assert streamed.set_index("model")["status"]["fashion-mnist/made-0001"] == "partial: 280 of 300 images"


def test_rows_are_let_go_when_their_model_is_summarised(invented):
    folder, benchmark = invented
    seen, lock = [], threading.Lock()

    def use(result):
        with lock:
            seen.append(weakref.ref(result.rows))
            return sum(rows() is not None for rows in seen)

    alive = results.each(folder, benchmark, use)
    assert len(alive) == 6
    assert max(alive) <= min(5, 1 + os.cpu_count())
    assert not any(rows() is not None for rows in seen)


def test_memory_does_not_grow_with_the_models_rows(tmp_path):
    benchmark, few, many = big_results.definition(4000), 4, 16
    big_results.write(tmp_path / "many", benchmark, many)
    for name in big_results.names(benchmark, few):
        path = results.path_of(tmp_path / "few", benchmark, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.hardlink_to(results.path_of(tmp_path / "many", benchmark, name))
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "few"), str(tmp_path / "many")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=BENCHMARKS)
    assert done.returncode == 0, done.stderr
    rows = big_results.rows(benchmark, 0, "x").memory_usage(deep=False).sum()
    assert int(done.stdout) < (many - few) * rows / 2


def direct_rank_intervals(replicates):
    """The definition, with the differences of all pairs at once."""
    m = replicates.shape[1]
    i, j = np.triu_indices(m, k=1)
    significant = np.zeros((m, m), dtype=bool)
    if len(i):
        difference = replicates[:, i] - replicates[:, j]
        estimate, drawn = difference[0], difference[1:]
        scale = drawn.std(axis=0, ddof=1)
        scale[scale == 0] = np.finfo(float).tiny
        critical = np.quantile(np.max(np.abs(drawn - estimate) / scale, axis=1), 0.95)
        significant[i, j] = estimate > critical * scale
        significant[j, i] = -estimate > critical * scale
    return np.stack([1 + significant.sum(axis=0), m - significant.sum(axis=1)], axis=1)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), models=st.integers(1, 150), spread=st.floats(0, 3), twins=st.booleans())
def test_rank_intervals_in_blocks_are_those_of_all_pairs_at_once(seed, models, spread, twins):
    rng = np.random.default_rng(seed)
    replicates = rng.normal(size=(60, models)) + spread * rng.normal(size=models)
    replicates[0] = replicates[1:].mean(axis=0)
    if twins:
        replicates[:, -1] = replicates[:, 0]
    assert (statistics.rank_intervals(replicates) == direct_rank_intervals(replicates)).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 60), unscored=st.floats(0, 1))
def test_a_mean_is_the_same_with_and_without_counting_what_is_scored(seed, n, unscored):
    rng = np.random.default_rng(seed)
    weights = statistics.resampling_weights(n, seed=seed, replicates=30)
    values = rng.normal(size=(n, 4))
    values[:, 1:3][rng.random((n, 2)) < unscored] = np.nan
    scored = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        full = (weights @ np.where(scored, values, 0.0)) / (weights @ scored.astype(float))
    np.testing.assert_allclose(statistics.weighted_means(weights, values), full, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(
        statistics.weighted_means(weights, values[:, [0, 3]]), full[:, [0, 3]], rtol=1e-12, atol=1e-14
    )


@given(trials=st.integers(1, 400), share=st.floats(0, 1), chance=st.floats(0.001, 1))
def test_the_binomial_tail_is_scipys(trials, share, chance):
    successes = round(share * trials)
    expected = binom.sf(successes - 1, trials, chance)
    assert statistics.binomial_tail(successes, trials, chance) == pytest.approx(expected, rel=1e-6, abs=1e-300)


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 50), levels=st.integers(1, 30))
def test_kendalls_correlation_is_scipys(seed, n, levels):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, levels, n).astype(float), rng.normal(size=n).round(1)
    assert statistics.kendall(x, y) == pytest.approx(kendalltau(x, y).statistic, abs=1e-12, nan_ok=True)


def test_the_command_needs_no_scipy():
    """Importing it takes longer than reading sixty models."""
    code = "import sys, pagbench.ranking.render, pagbench.cli.listing; assert 'scipy' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_summaries_for_the_leaderboard_keep_what_it_compares_and_no_more(invented):
    folder, benchmark = invented
    kept = board.summaries.read(folder, benchmark)
    assert {len(summary.replicates) for summary in kept} == {4}


def same_text(folder, benchmark):
    brief = board.shown(folder, benchmark, render.sources(benchmark))
    whole = pagbench.leaderboard(folder, benchmark=benchmark)
    assert len(brief.columns) < len(whole.columns)
    pd.testing.assert_frame_equal(brief, whole[brief.columns], rtol=1e-12)
    for width in (None, 200, 80):
        assert render.to_table(brief, benchmark, width) == render.to_table(whole, benchmark, width)
    assert render.to_markdown(brief, benchmark) == render.to_markdown(whole, benchmark)


@pytest.mark.parametrize("label", sorted(path.name for path in results.PUBLISHED.glob("*@*") if "+" not in path.name))
def test_tables_need_no_more_statistics_than_are_computed_for_them(label):
    same_text(results.PUBLISHED, benchmarks.load(label))


def test_tables_of_unscored_and_partial_results_need_no_more_statistics(invented):
    same_text(*invented)


def test_samples_are_found_whatever_holds_their_names(invented):
    names = list(invented[1].samples)
    halves = pd.concat([pd.Series(names[:9]), pd.Series(names[9:])])
    for ids in (pd.Series(names), pd.Series(names, dtype=object), pd.Series(names, dtype="category"), halves):
        assert results.whole(results.positions(ids, invented[1]), invented[1])
    assert results.positions(pd.Series([names[2], "unknown", None, names[0]]), invented[1]).tolist() == [2, -1, -1, 0]
