"""Results on disk: what two runs, damage and slow disks do to them, which is nothing."""

import threading
import time
import zlib
from base64 import b85encode
from pathlib import Path

import light
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pagbench
from pagbench import columns, results
from pagbench.errors import ResultsError
from pagbench.results import DamagedError, Result, StoragePath, Store, parquet
from pagbench.running.runner import RunError
from pagbench.storage.files import file_lock

pytestmark = pytest.mark.usefixtures("short_preflight")

SMALL = light.benchmark()
SCHEMA = columns.schema(SMALL)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """All rows of one network, as a run keeps them."""
    folder = tmp_path_factory.mktemp("whole")
    pagbench.run({"a": light.Linear(1)}, benchmark=SMALL, results=folder, anchors=False)
    return results.read(results.path_of(folder, SMALL, "a"), SCHEMA)


def part(whole, first, last):
    plain = {name: value for name, value in whole.document.items() if name not in ("maps", "gallery", "runs")}
    return Result(whole.rows.iloc[first:last].reset_index(drop=True), plain)


def ids(store):
    return list(store.load().rows["sample_id"])


@given(st.lists(st.floats(-1e6, 1e6, width=32).filter(lambda value: abs(value) > 1e-6), min_size=1), st.integers(4, 23))
def test_values_are_rounded_to_the_nearest_of_so_many_bits(values, bits):
    given_values = np.array(values, dtype=np.float32)
    rounded = results.significant(given_values, bits).astype(np.float64)
    half = 2.0 ** (np.floor(np.log2(np.abs(given_values.astype(np.float64)))) - bits)
    assert (np.abs(rounded - given_values) <= half).all()


@pytest.mark.parametrize("packed", [False, True])
def test_what_is_read_is_what_was_written(whole, tmp_path, packed):
    results.write(tmp_path / "a.parquet", whole, SCHEMA, packed=packed)
    found = results.read(tmp_path / "a.parquet", SCHEMA)
    assert found.rows.equals(whole.rows) and found.document == whole.document


def test_a_packed_provenance_is_smaller_and_its_digest_the_same(whole, tmp_path):
    import pyarrow.parquet as pq

    for name, packed in (("a", False), ("b", True)):
        results.write(tmp_path / f"{name}.parquet", whole, SCHEMA, packed=packed)
    plain, small = (pq.read_metadata(tmp_path / f"{name}.parquet").metadata for name in "ab")
    assert plain[b"pagbench.sha256"] == small[b"pagbench.sha256"]
    assert len(small[b"pagbench.packed"].decode("ascii")) < 0.7 * len(plain[b"pagbench"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"no base85 \xff", "bad base85"),
        (b85encode(b"no zlib"), "provenance is damaged"),
        (b85encode(zlib.compress(b"{}")[:-3]), "cut off"),
        (b85encode(zlib.compress(b"{}") + b"more"), "cut off"),
        (b85encode(zlib.compress(bytes(parquet.LARGEST_FOOTER + 1))), "takes more than"),
        (b85encode(zlib.compress(b"{}")), "not those that were written"),
        (b85encode(zlib.compress(b"\xff")), "utf-8"),
        (b"", "cut off"),
    ],
)
def test_a_packed_provenance_that_nobody_packed_is_one_line(whole, tmp_path, text, reason):
    import pyarrow.parquet as pq

    results.write(tmp_path / "a.parquet", whole, SCHEMA, packed=True)
    table = pq.read_table(tmp_path / "a.parquet")
    pq.write_table(
        table.replace_schema_metadata({**table.schema.metadata, b"pagbench.packed": text}), tmp_path / "a.parquet"
    )
    with pytest.raises(DamagedError, match=reason) as error:
        results.read(tmp_path / "a.parquet", SCHEMA)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("other", [b"{}", None])
def test_a_file_of_two_provenances_is_one_line(whole, tmp_path, other):
    """Even of two that are the same: of readers that know one key alone, each would believe its own."""
    import pyarrow.parquet as pq

    for name, packed in (("a", False), ("b", True)):
        results.write(tmp_path / f"{name}.parquet", whole, SCHEMA, packed=packed)
    plain, table = pq.read_metadata(tmp_path / "a.parquet").metadata, pq.read_table(tmp_path / "b.parquet")
    both = {**table.schema.metadata, b"pagbench": other or plain[b"pagbench"]}
    pq.write_table(table.replace_schema_metadata(both), tmp_path / "b.parquet")
    with pytest.raises(DamagedError, match="two provenances") as error:
        results.read(tmp_path / "b.parquet", SCHEMA)
    assert "\n" not in str(error.value)


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_flipped_bit_and_no_cut_changes_a_value_unseen(whole, tmp_path, data):
    path = tmp_path / "a.parquet"
    results.write(path, whole, SCHEMA)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] ^= 1 << data.draw(st.integers(0, 7))
    else:
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    path.write_bytes(bytes(content))
    try:
        found = results.read(path, SCHEMA)
    except ResultsError as error:
        assert "\n" not in str(error)
    else:  # a byte that means nothing
        assert found.rows.equals(whole.rows) and found.document == whole.document


def test_damaged_files_are_found_told_and_measured_again(whole, tmp_path):
    """One merged file with other bytes, and a part that lacks its end."""
    network, told = {"a": light.Linear(1)}, []

    def run(**options):
        return pagbench.run(
            network, benchmark=SMALL, results=tmp_path, anchors=False, on_warning=told.append, **options
        )

    run()
    path = results.path_of(tmp_path, SMALL, "a")
    content = bytearray(path.read_bytes())
    content[content.index(b"fingerprint")] ^= 1  # not just any byte: a few mean nothing
    path.write_bytes(bytes(content))
    with pytest.raises(DamagedError, match="run again"):
        results.read_all(tmp_path, SMALL)
    light.assert_same_rows(run(), whole.rows)
    assert len(told) == 1 and "a.parquet" in told[0] and told[0].endswith("its rows are measured again")
    assert path.with_name(".a.parquet.damaged").read_bytes() == content, "what a user may want to look at is kept"
    path.unlink()
    store, told[:] = Store(path, SMALL), []
    store.add(part(whole, 0, 9))
    store.add(part(whole, 9, 20))
    (hurt, _) = [Path(place.path) for place in store.shards()]
    hurt.write_bytes(hurt.read_bytes()[:-7])
    light.assert_same_rows(run(), whole.rows)
    assert len(told) == 1 and "its rows are measured again" in told[0]


def test_a_part_that_another_run_adds_while_this_one_merges_is_not_lost(whole, tmp_path):
    """The rows between the reading of parts and their removal."""
    mine, others = (Store(tmp_path / "a.parquet", SMALL) for _ in range(2))
    mine.add(part(whole, 0, 10))
    joined = Store._joined

    def slowly(store, found):
        result = joined(store, found)
        if store is mine:
            others.add(part(whole, 10, 12))
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "_joined", slowly)
        mine.merge({})
    assert ids(mine) == list(whole.rows["sample_id"][:12])
    others.merge({"maps": None})
    assert ids(mine) == list(whole.rows["sample_id"][:12]) and not mine.shards()


def test_parts_of_other_batch_sizes_do_not_overwrite_each_other(whole, tmp_path):
    store = Store(tmp_path / "a.parquet", SMALL)
    for first, last in ((0, 12), (0, 4), (4, 12), (0, 12)):
        store.add(part(whole, first, last))
    assert len(store.shards()) == 3
    assert ids(store) == list(whole.rows["sample_id"][:12])
    store.merge({})
    assert ids(store) == list(whole.rows["sample_id"][:12])


@pytest.mark.parametrize("where", ["disk", "s3"])
def test_two_runs_at_once_lose_no_row_and_write_none_twice(whole, tmp_path, where, request):
    """Threads add parts of several sizes and merge whenever they like, on a disk and where nothing can be locked."""
    folder = tmp_path if where == "disk" else request.getfixturevalue("bucket")
    place = StoragePath.parse(folder) / "two-runs" / "a.parquet"
    rng = np.random.default_rng(0)
    sizes = (2, 3, 4, 6) if where == "disk" else (4, 6, 8)  # each part is some requests
    plans = [rng.permutation(np.arange(0, 24, size)) for size in sizes]
    failures = []

    def fill(starts, size):
        store = Store(place, SMALL)
        try:
            for start in starts:
                store.add(part(whole, start, start + size))
                store.merge({})
                assert set(whole.rows["sample_id"][start : start + size]) <= set(ids(store))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=fill, args=(plan, size)) for plan, size in zip(plans, sizes, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    store = Store(place, SMALL)
    assert ids(store) == list(whole.rows["sample_id"]) and store.load().rows[list(SCHEMA.names)].equals(whole.rows)
    store.merge({})
    assert not store.shards()


def test_a_disk_that_renames_slowly_shows_no_half_file(whole, tmp_path, monkeypatch):
    """A reader that looks all the time sees whole batches, and never fewer than before."""
    rename = Path.replace

    def slowly(self, target):
        time.sleep(0.03)
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", slowly)
    store, seen, done = Store(tmp_path / "a.parquet", SMALL), [0], threading.Event()
    failures = []

    def look():
        try:
            while not done.is_set():
                found = store.load()
                seen.append(0 if found is None else len(found.rows))
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=look)
    thread.start()
    for start in range(0, 24, 4):
        store.add(part(whole, start, start + 4))
        if start == 12:
            store.merge({})
    store.merge({})
    done.set()
    thread.join()
    assert not failures
    assert seen == sorted(seen) and {count % 4 for count in seen} == {0} and ids(store) == list(whole.rows["sample_id"])


def test_a_digest_is_of_values_and_provenance_alone(whole, tmp_path):
    """The same rows, compressed otherwise, are the same; without a digest, as older files are, they are read too."""
    import pyarrow.parquet as pq

    results.write(tmp_path / "a.parquet", whole, SCHEMA)
    table = pq.read_table(tmp_path / "a.parquet")
    pq.write_table(table, tmp_path / "b.parquet", compression="zstd")
    assert results.read(tmp_path / "b.parquet", SCHEMA).rows.equals(whole.rows)
    older = table.replace_schema_metadata({b"pagbench": table.schema.metadata[b"pagbench"]})
    pq.write_table(older, tmp_path / "c.parquet")
    assert results.read(tmp_path / "c.parquet", SCHEMA).rows.equals(whole.rows)
    edited = table.replace_schema_metadata({**table.schema.metadata, b"pagbench": b"{}"})
    pq.write_table(edited, tmp_path / "d.parquet")
    with pytest.raises(DamagedError, match="not those that were written"):
        results.read(tmp_path / "d.parquet", SCHEMA)


def test_the_name_of_a_part_is_that_of_its_samples_and_provenance(whole, tmp_path):
    store = Store(tmp_path / "a.parquet", SMALL)
    store.add(part(whole, 0, 3))
    (place,) = store.shards()
    store.add(part(whole, 0, 3))
    assert store.shards() == [place]
    told = part(whole, 0, 3)
    store.add(Result(told.rows, {**told.document, "command": "another"}))
    store.add(part(whole, 0, 4))
    assert len(store.shards()) == 3


def test_one_process_at_a_time_holds_a_lock_that_leaves_no_file(tmp_path):
    """Threads stand for processes: each opens the file anew. A removed file must not let two of them in."""
    inside, most, entered = [], [], []

    def enter():
        for _ in range(20):
            with file_lock(tmp_path / ".lock"):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.001)
                inside.pop()
                entered.append(1)

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1 and len(entered) == 80 and not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_read_is_not_taken_for_a_damaged_one(whole, tmp_path, monkeypatch):
    """As where another user may not read it, or a disk does not answer: it stays."""
    store = Store(tmp_path / "a.parquet", SMALL)
    store.add(part(whole, 0, 10))

    def refuse(place, *_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(StoragePath, "read", refuse)
        with pytest.raises(ResultsError, match=r"cannot be read \(Permission denied\)") as caught:
            store.load()
        assert not isinstance(caught.value, DamagedError)
        with pytest.raises(ResultsError, match="cannot be read"):
            store.heal()
    assert len(store.load().rows) == 10


def test_a_part_that_comes_while_an_empty_folder_is_removed_stays(whole, tmp_path, monkeypatch):
    store = Store(tmp_path / "a.parquet", SMALL)
    store.add(part(whole, 0, 10))
    rmdir = Path.rmdir

    def late(path):
        store.add(part(whole, 10, 12))
        rmdir(path)

    monkeypatch.setattr(Path, "rmdir", late)
    store.merge({})
    assert len(store.load().rows) == 12


def test_a_file_that_another_run_has_mended_meanwhile_is_not_removed(whole, tmp_path, monkeypatch):
    store = Store(tmp_path / "a.parquet", SMALL)
    results.write(tmp_path / "a.parquet", whole, SCHEMA)
    content = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(content[:100])
    with pytest.raises(DamagedError):
        store.load()
    (tmp_path / "a.parquet").write_bytes(content)
    assert store.heal() == [] and len(store.load().rows) == 24


def test_another_network_of_the_same_id_is_found_in_whichever_order_they_finish(tmp_path, monkeypatch):
    """While one is measured, a shorter run of another network under its id is merged."""
    small = light.benchmark()
    from pagbench.running.session import Session

    measure = Session.rows

    def before_another(session, model, ids, optional=None):
        yield from measure(session, model, ids, optional)
        monkeypatch.setattr(Session, "rows", measure)
        pagbench.run({"a": light.Linear(2)}, benchmark=small, results=tmp_path / "other", anchors=False, limit=4)
        other = tmp_path / "other" / "digits@1" / "a.parquet"
        (tmp_path / "r" / "digits@1" / "a.parquet").write_bytes(other.read_bytes())

    monkeypatch.setattr(Session, "rows", before_another)
    with pytest.raises(RunError, match="holds other results under this id"):
        pagbench.run({"a": light.Linear(1)}, benchmark=small, results=tmp_path / "r", anchors=False)
