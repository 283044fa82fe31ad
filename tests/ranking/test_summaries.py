"""What is read from a folder is what the rows say, whatever is kept of them; shortcuts change no number."""

import os
import shutil
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
from scipy.stats import binom, kendalltau, norm, t

import pagbench
from pagbench import benchmarks, columns, results
from pagbench.errors import ResultsError
from pagbench.ranking import resampling, statistics, summaries, summary_cache
from pagbench.results import verification
from pagbench.results.files import Declared

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


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "summaries"


@pytest.fixture(scope="module")
def invented(tmp_path_factory):
    """A folder of six models on 300 samples: one lacks samples, one values."""
    folder, benchmark = tmp_path_factory.mktemp("invented"), big_results.definition(300)
    big_results.write(folder, benchmark, 6)
    for index, edit in ((3, _without_samples), (4, _without_values)):
        name = big_results.names(benchmark, 6)[index]
        result = results.Result(
            edit(big_results.rows(benchmark, index, name)), big_results.provenance(benchmark, index, name)
        )
        results.write(results.path_of(folder, benchmark, name), result, pagbench.columns.schema(benchmark))
    return folder, benchmark


def _without_samples(rows):
    return rows.iloc[20:]


def _without_values(rows):
    return rows.assign(alignment_second=rows["alignment_second"].where(rows.index % 7 > 0))


@pytest.fixture
def copied(invented, tmp_path):
    """The same, to be changed."""
    shutil.copytree(invented[0], tmp_path / "copied")
    return tmp_path / "copied", invented[1]


@pytest.fixture
def summarised(monkeypatch):
    """Names of the models that are summarised from their rows."""
    names, summarise = [], summary_cache.summarise_result

    def counted(result, *arguments):
        names.append(result.name)
        return summarise(result, *arguments)

    monkeypatch.setattr(summary_cache, "summarise_result", counted)
    return names


def test_a_folder_read_model_by_model_gives_the_board_of_all_rows_at_once(invented):
    folder, benchmark = invented
    streamed = pagbench.leaderboard(folder, benchmark=benchmark)
    whole = pagbench.leaderboard(results.to_frame(results.read_all(folder, benchmark)), benchmark=benchmark)
    pd.testing.assert_frame_equal(streamed, whole, rtol=1e-12)
    assert streamed["rank"].notna().sum() == 4
    assert streamed["regime"].notna().any()
    assert streamed.set_index("model")["status"]["fashion-mnist/made-0001"] == "partial: 280 of 300 images"


@pytest.mark.parametrize("label", ["digits@1", "gaussians"])
def test_a_board_of_kept_summaries_is_the_first_one_to_the_bit(label, summarised):
    first = pagbench.leaderboard(results.PUBLISHED, benchmark=label)
    count = len(summarised)
    pd.testing.assert_frame_equal(pagbench.leaderboard(results.PUBLISHED, benchmark=label), first, check_exact=True)
    assert count == len(first) == len(summarised), "no rows are summarised a second time"


def test_only_what_has_changed_is_summarised_again(copied, summarised):
    folder, benchmark = copied
    before = pagbench.leaderboard(folder, benchmark=benchmark)
    summarised.clear()
    name = big_results.names(benchmark, 6)[2]
    kept = big_results.rows(benchmark, 2, name)[["family", "strength"]]
    rows = big_results.rows(benchmark, 77, name).assign(**kept)
    changed = results.Result(rows, big_results.provenance(benchmark, 2, name))
    results.write(results.path_of(folder, benchmark, name), changed, pagbench.columns.schema(benchmark))
    after = pagbench.leaderboard(folder, benchmark=benchmark)
    assert summarised == [name]
    assert not after.equals(before)
    unread = results.to_frame(results.read_all(folder, benchmark))
    pd.testing.assert_frame_equal(after, pagbench.leaderboard(unread, benchmark=benchmark), rtol=1e-12)


def test_a_file_that_is_damaged_later_is_left_out_though_its_summary_is_kept(copied):
    folder, benchmark = copied
    name = big_results.names(benchmark, 6)[2]
    assert name in set(pagbench.leaderboard(folder, benchmark=benchmark)["model"])
    path = results.path_of(folder, benchmark, name)
    content = bytearray(path.read_bytes())
    content[content.index(b"fingerprint")] ^= 1
    path.write_bytes(bytes(content))
    with pytest.warns(UserWarning, match=r"left out: .*not those that were written"):
        assert name not in set(pagbench.leaderboard(folder, benchmark=benchmark)["model"])


def test_another_definition_of_the_benchmark_has_no_kept_summaries(copied):
    folder, benchmark = copied
    pagbench.leaderboard(folder, benchmark=benchmark)
    other = benchmark.model_copy(update={"seed": benchmark.seed + 1})
    with pytest.raises(ResultsError, match="measured on another definition"):
        pagbench.leaderboard(folder, benchmark=other)


def test_a_record_that_comes_or_goes_is_seen(copied):
    folder, benchmark = copied
    name = big_results.names(benchmark, 6)[2]
    path = results.path_of(folder, benchmark, name)

    def told():
        return pagbench.leaderboard(folder, benchmark=benchmark).set_index("model").loc[name]

    assert told()["verification"] == "self-reported"
    record = verification.Verification(
        benchmark=benchmark.label, model=name, results_sha256=verification.sha256(path), seed=0, samples=5, by="me",
        weights_sha256=big_results.provenance(benchmark, 2, name)["weights_sha256"], verdict="refuted",
        reason="made up", when="2026-11-23T12:00:00Z", versions={}, device="cpu",
    )  # fmt: skip
    written = verification.write(path, record)
    for _ in range(2):  # read, then kept
        assert told()["status"].startswith("refuted by rerun of 5 images")
    written.unlink()
    assert told()["verification"] == "self-reported"


def test_rows_of_an_unfinished_run_are_not_kept(copied, summarised):
    folder, benchmark = copied
    name = big_results.names(benchmark, 6)[2]
    store = results.store_of(folder, benchmark, name)
    merged = store.load()
    results.path_of(folder, benchmark, name).unlink()
    store.add(results.Result(merged.rows.iloc[:100], merged.document))
    for _ in range(2):
        board = pagbench.leaderboard(folder, benchmark=benchmark).set_index("model")
        assert board.loc[name, "n_total"] == 100
    assert summarised.count(name) == 2


def test_damaged_old_and_unwritable_caches_are_no_error(invented, cache_folder, summarised, monkeypatch):
    folder, benchmark = invented
    before = pagbench.leaderboard(folder, benchmark=benchmark)
    hurt, old, *_ = kept = sorted(cache_folder.glob("*/*"))
    assert len(kept) == 6
    hurt.write_bytes(hurt.read_bytes()[:-1])
    (stale := cache_folder / "of another code" / "0").parent.mkdir()
    stale.write_bytes(b"")
    for path in (old, stale):
        os.utime(path, (0, 0))
    pd.testing.assert_frame_equal(pagbench.leaderboard(folder, benchmark=benchmark), before, check_exact=True)
    assert len(summarised) == 7
    assert not stale.exists() and old.stat().st_mtime > 0, "what is read is kept, what nobody reads goes"
    monkeypatch.setenv("PAGBENCH_CACHE", str(results.path_of(folder, benchmark, big_results.names(benchmark, 6)[2])))
    pd.testing.assert_frame_equal(pagbench.leaderboard(folder, benchmark=benchmark), before, check_exact=True)


def test_a_model_measured_against_other_networks_is_left_out_from_the_cache_too(copied):
    folder, benchmark = copied
    odd = big_results.names(benchmark, 3)[2]
    for index, name in enumerate(big_results.names(benchmark, 3)):
        networks = {"score": {"weights_sha256": "ab"[index == 2] * 64}}
        document = {**big_results.provenance(benchmark, index, name), "networks": networks}
        result = results.Result(big_results.rows(benchmark, index, name), document)
        results.write(results.path_of(folder, benchmark, name), result, pagbench.columns.schema(benchmark))
    for _ in range(2):
        with pytest.warns(
            UserWarning, match=r"left out: .*its score has weights bbbb.*their numbers are not comparable"
        ):
            assert odd not in set(pagbench.leaderboard(folder, benchmark=benchmark)["model"])
    with pytest.raises(ResultsError, match=r"its score has weights bbbb"):
        results.read_all(folder, benchmark)


def test_where_two_contradict_each_other_alone_both_are_refused(copied):
    """Nothing tells which of them is right."""
    folder, benchmark = copied
    first, second, *others = big_results.names(benchmark, 6)
    for name in others:
        results.path_of(folder, benchmark, name).unlink()
    for index, name in enumerate((first, second)):
        document = big_results.provenance(benchmark, index, name)
        networks = {"score": {"weights_sha256": "ab"[index] * 64}}
        result = results.Result(big_results.rows(benchmark, index, name), {**document, "networks": networks})
        results.write(results.path_of(folder, benchmark, name), result, pagbench.columns.schema(benchmark))
    with pytest.raises(ResultsError, match="their numbers are not comparable"):
        pagbench.leaderboard(folder, benchmark=benchmark)


def test_rows_are_let_go_when_their_model_is_summarised(invented):
    folder, benchmark = invented
    seen, lock = [], threading.Lock()

    def use(result):
        with lock:
            seen.append(weakref.ref(result.rows))
            return sum(rows() is not None for rows in seen)

    alive = results.map_results(folder, benchmark, use)
    assert len(alive) == 6
    assert max(alive) <= min(5, 1 + os.cpu_count())
    assert not any(rows() is not None for rows in seen)


@pytest.mark.parametrize(
    "name", ["measures/accuracy.yaml", "cards/plain_yaml.py", "columns.py", "ranking/eligibility.py"]
)
def test_summaries_are_not_kept_over_a_change_of_what_they_depend_on(name, tmp_path, monkeypatch):
    package = Path(pagbench.__file__).parent
    shutil.copytree(
        package, tmp_path / "pagbench", ignore=shutil.ignore_patterns("__pycache__", "*.safetensors", "assets")
    )
    monkeypatch.setattr(pagbench, "__file__", str(tmp_path / "pagbench" / "__init__.py"))
    before = summary_cache._code_digest()
    assert summary_cache._code_digest() == before
    with (tmp_path / "pagbench" / name).open("a", encoding="utf-8") as file:
        file.write("\n# changed\n")
    assert summary_cache._code_digest() != before


@pytest.mark.slow
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


def direct_rank_intervals(replicates, units):
    """The definition, with the differences of all pairs at once."""
    m = replicates.shape[1]
    floor = statistics.ROUNDING * np.abs(replicates[0]).max()
    i, j = np.triu_indices(m, k=1)
    significant = np.zeros((m, m), dtype=bool)
    if len(i):
        difference = replicates[:, i] - replicates[:, j]
        estimate, drawn = difference[0], difference[1:]
        scale = np.maximum(drawn.std(axis=0, ddof=1), floor)
        critical = np.quantile(np.max(np.abs(drawn - estimate) / scale, axis=1), 0.95)
        critical = t.isf(norm.sf(critical), units - 1)
        least = np.maximum(critical * scale, norm.ppf(0.975) * floor)
        significant[i, j], significant[j, i] = estimate > least, -estimate > least
    return np.stack([1 + significant.sum(axis=0), m - significant.sum(axis=1)], axis=1)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), models=st.integers(1, 150), spread=st.floats(0, 3), twins=st.booleans())
def test_rank_intervals_in_blocks_are_those_of_all_pairs_at_once(seed, models, spread, twins):
    rng = np.random.default_rng(seed)
    replicates = rng.normal(size=(60, models)) + spread * rng.normal(size=models)
    replicates[0] = replicates[1:].mean(axis=0)
    if twins:
        replicates[:, -1] = replicates[:, 0]
    assert (statistics.rank_intervals(replicates, units=60) == direct_rank_intervals(replicates, 60)).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 60), unscored=st.floats(0, 1))
def test_a_mean_is_the_same_with_and_without_counting_what_is_scored(seed, n, unscored):
    rng = np.random.default_rng(seed)
    blocks = np.unique(rng.integers(0, n, n), return_inverse=True)[1]
    drawn = resampling.resample(blocks, seed=seed, replicates=30)
    weights = drawn.counts[:, blocks]
    values = rng.normal(size=(n, 4))
    values[:, 1:3][rng.random((n, 2)) < unscored] = np.nan
    scored = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        full = (weights @ np.where(scored, values, 0.0)) / (weights @ scored.astype(float))
    np.testing.assert_allclose(resampling.means(drawn, values), full, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(resampling.means(drawn, values[:, [0, 3]]), full[:, [0, 3]], rtol=1e-12, atol=1e-14)


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
    kept = summary_cache.read_summaries(*invented)
    without_profile = tuple(name for name in summaries.COMPARED if name != "alignment_peak_sigma")
    assert {tuple(summary.replicates) for summary in kept} == {without_profile}


@pytest.mark.parametrize("label", sorted(path.name for path in results.PUBLISHED.glob("*@*") if "+" not in path.name))
def test_columns_of_optional_measures_are_those_of_their_files_in_the_order_of_the_rows(label):
    benchmark = benchmarks.load(label)
    for measure in pagbench.columns.OPTIONAL:
        for path in sorted((results.PUBLISHED / f"{benchmark.label}+{measure}").rglob("*.parquet"))[:2]:
            name = path.relative_to(results.PUBLISHED / f"{benchmark.label}+{measure}").with_suffix("").as_posix()
            own, other = (results.store_of(results.PUBLISHED, benchmark, name, m).load() for m in (None, measure))
            names = [column.name for column in pagbench.columns.sample_columns(benchmark, [measure])]
            joined = results.with_measure(own, other, benchmark, measure).rows
            expected = own.rows.merge(
                other.rows[["entrant", "sample_id", *names]], on=["entrant", "sample_id"], how="left"
            )
            pd.testing.assert_frame_equal(joined, expected)


def test_samples_are_found_whatever_holds_their_names(invented):
    names, every = list(invented[1].samples), list(range(len(invented[1].samples)))
    halves = pd.concat([pd.Series(names[:9]), pd.Series(names[9:])])
    for ids in (pd.Series(names), pd.Series(names, dtype=object), pd.Series(names, dtype="category"), halves):
        assert results.positions(ids, invented[1]).tolist() == every
    assert results.positions(pd.Series([names[2], "unknown", None, names[0]]), invented[1]).tolist() == [2, -1, -1, 0]


@pytest.mark.parametrize(("robust", "images"), [(5, 64), (7, 64), (3, 64), (5, 128), (2, 40)])
def test_where_few_blocks_were_attacked_images_are_drawn_one_by_one(robust, images):
    """Blocks of which every one has the same share would say that there is no uncertainty."""
    edition = benchmarks.load("digits@2")
    drawn, name = resampling.resample_samples(edition), "adversarial_l2_0.5"
    place = np.argsort(np.argsort(drawn.blocks, kind="stable"))  # along the blocks, of ten images each
    values = np.where(np.arange(360) < images, place % 10 < robust, np.nan)
    blocked = statistics.interval(resampling.means(drawn.first(2000), values[:, None])[:, 0])
    found = summaries._of_few_blocks({name: values}, drawn, edition)
    value, low, high = statistics.interval(found[name])
    share = np.nanmean(values)
    assert value == blocked.value == share
    assert (high - low) / 2 == pytest.approx(1.96 * np.sqrt(share * (1 - share) / images), rel=0.2)
    assert blocked.high - blocked.low < 0.8 * (high - low)
    assert not summaries._of_few_blocks({name: np.where(np.isnan(values), 1.0, values)}, drawn, edition)
    assert not summaries._of_few_blocks({"generation_recognised": values}, drawn, edition)


def test_a_part_of_few_blocks_has_intervals_as_wide_as_its_images_say():
    """Eight images lie in a few blocks, whose spread is chance; drawn singly they say what images say."""
    digits = benchmarks.load("digits@2")
    path = Path(__file__).parents[2] / "leaderboard" / "results" / "digits@2" / "digits" / "standard.parquet"
    few = results.read(path, columns.schema(digits)).rows.iloc[:8]
    entry = summaries.summarise(few, digits, resampling.resample_samples(digits), Declared()).entry
    half = (entry["tangent_energy_high"] - entry["tangent_energy_low"]) / 2
    expected = 1.96 * few["tangent_energy"].std() / len(few) ** 0.5
    assert 0.6 * expected < half < 1.6 * expected
