"""Mutated results files and records: one line or the right value, and nothing else changes. Minutes under `slow`."""

import json
import os

import numpy as np
import pandas as pd
import pytest
import written
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pagbench
from pagbench import benchmarks, columns, results
from pagbench.errors import ResultsError
from pagbench.ranking import render
from pagbench.results import verification
from pagbench.storage import files
from pagbench.studies.models import read_study

DIGITS = benchmarks.load("digits@1")
SCHEMA = columns.schema(DIGITS)
KEPT = ("control/bayes", "digits/standard")
BAD = "digits@1/digits/noise-0.15.parquet"
EXAMPLES = int(os.environ.get("PAGBENCH_FUZZ_EXAMPLES", "0"))
"""How many examples a slow test tries; as many as take a minute by default."""


def few(count):
    return settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of two good files and one that is mutated, with its record; summaries are kept nowhere else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAGBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield folder_of(tmp_path_factory)


def folder_of(tmp_path_factory):
    home = written.copy(tmp_path_factory.mktemp("fuzzed"), *KEPT)
    written.lay(home, "digits/noise-0.15")  # the published one is older than digests
    record = json.loads(verification.path_of(results.PUBLISHED / BAD).read_text())
    record["results_sha256"] = verification.sha256(home / BAD)
    files.write(verification.path_of(home / BAD), json.dumps(record))
    return home


@pytest.fixture(scope="module")
def good(place):
    """The file that is mutated, its record, and the boards with it and without it."""
    whole = pagbench.leaderboard(place, benchmark=DIGITS)
    alone = written.copy(place.parent / "alone", *KEPT)
    content, record = (place / BAD).read_bytes(), verification.path_of(place / BAD).read_bytes()
    return content, record, whole, pagbench.leaderboard(alone, benchmark=DIGITS)


def assert_line_or_value(place, good, *, same=False):
    """The board is that of the others with one line, or that of all; the others' numbers are the same in both.

    Args:
        place: the folder.
        good: the fixture.
        same: whether the file's values may not differ from what they were.
    """
    _, _, whole, others = good
    said = []
    board = pagbench.leaderboard(place, benchmark=DIGITS, on_warning=said.append)
    assert all(line.isprintable() and len(line) < 2_000 and "cannot be used (" not in line for line in said), said
    if said:
        assert len(said) == 1 and "noise-0.15" in said[0], said
        pd.testing.assert_frame_equal(board, others, check_exact=True)
    else:
        assert len(board) == len(whole)
        theirs, before = (one[one["model"].isin(KEPT)].reset_index(drop=True) for one in (board, whole))
        own = [name for name in before if not name.startswith("rank")]
        pd.testing.assert_frame_equal(theirs[own], before[own], check_exact=True)
        values = [name for name in board if name != "verification"]  # its record is of other bytes
        assert not same or board[values].equals(whole[values])
        for form in render.FORMATS.values():
            assert all(line.isprintable() for line in form(board, DIGITS).split("\n"))
        studied = []
        study = read_study(place, DIGITS, studied.append)
        assert len(study.models) + len(studied) == len(KEPT) + 1


def flipped(data, content):
    """A copy with some bytes changed, left out or doubled; mostly where the file describes itself."""
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        if not changed:
            break
        place = data.draw(
            st.integers(0, len(changed) - 1) | st.integers(max(0, len(changed) - 4_000), len(changed) - 1)
        )
        length = data.draw(st.integers(1, 40))
        kind = data.draw(st.sampled_from(["set", "bit", "cut", "double", "fill"]))
        if kind == "set":
            changed[place] = data.draw(st.integers(0, 255))
        elif kind == "bit":
            changed[place] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "cut":
            del changed[place : place + length]
        elif kind == "double":
            changed[place:place] = changed[place : place + length]
        else:
            changed[place : place + length] = bytes([data.draw(st.sampled_from([0, 1, 127, 128, 255]))]) * length
    return bytes(changed)


def try_bytes(place, good, data):
    (place / BAD).write_bytes(flipped(data, good[0]))
    try:
        assert_line_or_value(place, good, same=True)
    finally:
        (place / BAD).write_bytes(good[0])


def unsigned(content):
    """The file without its digest, so that whatever Parquet makes of its bytes is looked at."""
    return content.replace(b"pagbench.sha256", b"pagbench.sha25x")


def try_bytes_without_a_digest(place, good, data):
    (place / BAD).write_bytes(flipped(data, unsigned(good[0])))
    try:
        assert_line_or_value(place, good)
    finally:
        (place / BAD).write_bytes(good[0])


TEXTS = st.text(max_size=20) | st.sampled_from(
    [
        "",
        "=cmd()",
        "\x1b[2J",
        "a\u202eb",
        "<script>",
        "x" * 3_000,
        "NaN",
        "0",
        "2099-01-01T00:00:00Z",
        "\ud800",
        "__class__",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
    | st.sampled_from([10**400, -1, 2**31, 2**63, -(2**63) - 1, 1e308, 5e-324, "a" * 64, "0" * 64, "f" * 10]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def places(value, path=()):
    """The way to every value of a document but those in long lists."""
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value[:3]):
            yield from places(inner, (*path, index))


def mutated(data, document):
    """A copy with some values replaced, taken out, repeated or put elsewhere."""
    changed = json.loads(json.dumps(document))
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(places(changed))))
        if not path:
            continue
        holder = changed
        for part in path[:-1]:
            holder = holder[part]
        kind = data.draw(st.sampled_from(["value", "value", "value", "drop", "list", "text", "many"]))
        last = path[-1]
        if kind == "drop":
            del holder[last]
        else:
            kept = holder[last]
            many = 20_000 // len(json.dumps(kept))  # or the test itself would take the memory
            made = {"list": [kept], "text": str(kept), "many": [kept] * many}
            holder[last] = made[kind] if kind in made else data.draw(VALUES)
    return changed


def try_provenance(place, good, data):
    try:
        document = mutated(data, written.provenance_of(place / BAD))
        written.rewrite(place / BAD, json.dumps(document))
        assert_line_or_value(place, good)
    finally:
        (place / BAD).write_bytes(good[0])


def try_record(place, good, data):
    path = verification.path_of(place / BAD)
    try:
        if data.draw(st.booleans()):
            path.write_text(json.dumps(mutated(data, json.loads(good[1]))))
        else:
            path.write_bytes(flipped(data, good[1]))
        assert_line_or_value(place, good)
    finally:
        path.write_bytes(good[1])


NUMBERS = st.floats(width=32) | st.sampled_from([0.0, 1.0, -1.0, np.nan, np.inf, 3e38, 1 - 2.0**-23])


def try_rows(place, good, data):
    """Values, texts and order of rows under a digest that fits."""
    kept = results.read(place / BAD, SCHEMA, 360)
    rows = kept.rows.copy()
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(list(rows.columns)))
        chosen = rows.index < data.draw(st.sampled_from([1, 18, 360]))
        if rows[name].dtype == float:
            rows.loc[chosen, name] = data.draw(NUMBERS)
        elif name in ("version", "label", "seed"):
            rows[name] = rows[name].where(~chosen, data.draw(st.integers(-(2**31), 2**31 - 1) | st.integers(0, 9)))
        elif name == "control":
            rows[name] = rows[name].where(~chosen, True)
        else:
            texts = st.text(max_size=5).filter(lambda text: text.isprintable())
            rows[name] = rows[name].where(~chosen, data.draw(texts | st.sampled_from(list(rows["sample_id"][:3]))))
    rows = rows.iloc[: data.draw(st.sampled_from([0, 1, 100, 360, 360, 360]))]
    try:
        results.write(place / BAD, results.Result(rows, kept.document), SCHEMA)
        assert_line_or_value(place, good)
    finally:
        (place / BAD).write_bytes(good[0])


WAYS = {
    "bytes": (try_bytes, 8), "bytes without a digest": (try_bytes_without_a_digest, 10),
    "provenance": (try_provenance, 12), "record": (try_record, 8), "rows": (try_rows, 8),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_mutated_file_is_one_line_or_the_right_value(place, good, way):
    mutate, count = WAYS[way]

    @given(st.data())
    @few(count)
    def check(data):
        mutate(place, good, data)

    check()


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_many_mutated_files_are_one_line_or_the_right_value(place, good, way):
    """Nor does memory grow by more than 1 GiB."""
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    mutate, count = WAYS[way]

    @given(st.data())
    @few(EXAMPLES or 20 * count)
    def check(data):
        mutate(place, good, data)

    check()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20


def test_a_reader_that_raises_something_else_would_be_found(place, good, monkeypatch):
    """The fuzzer can fail."""
    monkeypatch.setattr(results.files, "MOST_ROWS", 1)
    monkeypatch.setattr(results.store, "read", lambda *_: 1 / 0)
    with pytest.raises((AssertionError, ResultsError)):
        assert_line_or_value(place, good)
