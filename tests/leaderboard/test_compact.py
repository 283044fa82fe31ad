"""The script that makes published results small: what it has rounded and packed once stays as it is."""

import importlib.util
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import written

from pagbench import columns, results

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def compact(tmp_path, monkeypatch):
    """The script, of results of its own."""
    spec = importlib.util.spec_from_file_location("compact", ROOT / "leaderboard" / "compact.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "RESULTS", written.copy(tmp_path, *written.KEPT))
    return module


def test_a_published_file_stays_as_it_is_and_a_plain_one_is_packed(compact, tmp_path, digits):
    schema = columns.schema(digits)
    kept, plain = (results.path_of(tmp_path, digits, name) for name in written.KEPT[:2])
    before = results.read(plain, schema)
    results.write(plain, before, schema)
    told, untouched = pq.read_metadata(plain).metadata, kept.read_bytes()
    assert b"pagbench" in told
    compact.main()
    assert kept.read_bytes() == untouched
    after, footer = results.read(plain, schema), pq.read_metadata(plain).metadata
    assert after.rows.equals(before.rows) and after.document == before.document
    assert footer.keys() == {b"pagbench.packed", b"pagbench.sha256"}
    assert footer[b"pagbench.sha256"] == told[b"pagbench.sha256"]
