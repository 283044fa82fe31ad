"""Results files and records that a stranger may have written: one line each, little memory, no other model's loss."""

import base64
import json
import os
import re
import struct
import subprocess
import sys
import threading
import zlib
from base64 import b85encode

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import written
from commands import invoke
from written import BAD, KEPT

import pagbench
from pagbench import benchmarks, columns, results
from pagbench.errors import ResultsError
from pagbench.reports.site import building
from pagbench.results import files, parquet, plain, verification
from pagbench.storage.files import write as write_file
from pagbench.studies.models import read_study
from pagbench.submissions import check_results


@pytest.fixture
def folder(tmp_path):
    """A few of the published results, and a good one to spoil."""
    return written.copy(tmp_path / "results", *KEPT, "digits/noise-0.15")


@pytest.fixture(scope="module")
def others(tmp_path_factory, digits):
    """The board of the others alone."""
    home = written.copy(tmp_path_factory.mktemp("others"), *KEPT)
    return pagbench.leaderboard(home, benchmark=digits)


def assert_costs_its_own_model(folder, digits, others, *parts):
    """One line names the file and says why; all others are shown as without it, on the board and on the site."""
    said, studied = [], []
    board = pagbench.leaderboard(folder, benchmark=digits, on_warning=said.append)
    pd.testing.assert_frame_equal(board, others, check_exact=True)
    (line,) = said
    assert line.startswith("left out: ") and "noise-0.15" in line and line.isprintable() and len(line) < 1000, line
    assert all(part in line for part in parts), line
    study = read_study(folder, digits, studied.append)
    assert len(study.models) == len(KEPT) and studied == said
    with pytest.raises(ResultsError):
        results.read_all(folder, digits)


# The provenance

CHECK = {"name": "a", "verdict": "flag", "found": ""}
DEEP = '{"a":' * 30 + "1" + "}" * 30
FIELDS = {
    "networks of a list": ("networks", "[1]"),
    "no networks": ("networks", "null"),
    "a network that is a number": ("networks", '{"score": 1}'),
    "a network that is a text": ("networks", '{"score": "x"}'),
    "a hash that is none": ("networks", '{"score": {"weights_sha256": "<b>"}}'),
    "a hash that is a list": ("networks", '{"score": {"weights_sha256": [1]}}'),
    "too many networks": ("networks", json.dumps({str(n): {} for n in range(30)})),
    "seconds of text": ("wall_seconds", '"x"'),
    "seconds in text": ("wall_seconds", '"12.5"'),
    "seconds beyond floats": ("wall_seconds", "1" + "0" * 400),
    "seconds beyond ints": ("wall_seconds", "1" + "0" * 5000),
    "seconds below 0": ("wall_seconds", "-1"),
    "seconds that are none": ("wall_seconds", "NaN"),
    "seconds without end": ("wall_seconds", "1e999"),
    "seconds that are true": ("wall_seconds", "true"),
    "no seconds": ("wall_seconds", "null"),
    "rows of text": ("runs", '[{"rows": "x"}]'),
    "rows below 0": ("runs", '[{"rows": -1}]'),
    "rows without number": ("runs", '[{"started": "2026-11-23T00:00:00Z"}]'),
    "runs of numbers": ("runs", "[1, 2]"),
    "runs of a text": ("runs", '"many"'),
    "a run's versions": ("runs", '[{"rows": 1, "versions": [1]}]'),
    "outputs that are none": ("fingerprint", "[NaN]"),
    "outputs without end": ("fingerprint", "[Infinity]"),
    "outputs of text": ("fingerprint", '["1.0"]'),
    "outputs of lists": ("fingerprint", "[[1.0]]"),
    "outputs that are a dict": ("fingerprint", '{"0": 1}'),
    "real outputs of null": ("real_fingerprint", "[null]"),
    "gradients of numbers": ("gradient_fingerprint", "[1.0]"),
    "half a character": ("command", '"pagbench \\ud800"'),
    "two lines": ("command", '"pagbench run\\nrm -rf"'),
    "an escape": ("command", '"\\u001b[2J"'),
    "an 8-bit escape": ("command", '"\\u009b2J"'),
    "a mark of direction": ("device", '"a\\u202eb"'),
    "no width": ("precision", '"float\\u200b32"'),
    "a blank letter": ("precision", '"float\\u316432"'),
    "a hidden key": ("versions", '{"torch\\u2066": "1"}'),
    "a long command": ("command", json.dumps("x" * 10_001)),
    "2 MB of text": ("device", json.dumps("x" * 2_000_000)),
    "a field nobody knows": ("mine", json.dumps("x" * 2_001)),
    "deep in a field nobody knows": ("mine", '{"a": [{"b": "\\u0007"}]}'),
    "a key twice": ("mine", '{"a": 1, "a": 2}'),
    "deep nesting": ("mine", DEEP),
    "endless nesting": ("mine", "[" * 100_000 + "]" * 100_000),
    "a huge number": ("mine", "1" * 30),
    "versions of text": ("versions", '"all"'),
    "versions of numbers": ("versions", '{"torch": 2}'),
    "a commit that is a list": ("commit", "[]"),
    "a seed in text": ("seed", '"0"'),
    "a seed beyond 64 bits": ("seed", "9223372036854775808"),
    "a seed with a fraction": ("seed", "0.5"),
    "a revision that is true": ("revision", "true"),
    "a hash with a tag": ("weights_sha256", '"<script>"'),
    "a digest of null": ("benchmark_digest", "null"),
    "no day": ("started", '"2026-13-45T00:00:00Z"'),
    "no zone": ("started", '"2026-11-23T00:00:00"'),
    "no time": ("started", '"<b>2026"'),
    "other digits": ("started", '"２０26-11-23T00:00:00Z"'),
    "a card that is a list": ("card", "[]"),
    "a pre-flight of numbers": ("preflight", '{"checks": [1]}'),
    "a pre-flight without end": ("preflight", json.dumps({"checks": [CHECK] * 101})),
    "a pre-flight that hides": ("preflight", '{"checks": [{"name": "a", "verdict": "flag", "found": "\\u202e"}]}'),
}  # fmt: skip


def with_field(field, value):
    """Spoils a file by a field of its provenance, given as JSON."""

    def spoil(path):
        kept = json.dumps({**written.provenance_of(path), field: "HERE"})
        written.rewrite(path, kept.replace('"HERE"', value))

    return spoil


PICTURES = {
    "no end": {"shape": "[Infinity, 1, 1]"},
    "endless": {"shape": "[1e400, 1, 1]"},
    "text": {"shape": '["1", "8", "8"]'},
    "fractions": {"shape": "[1.0, 8.5, 8]"},
    "other size": {"shape": "[1, 4, 16]"},
    "other channels": {"shape": "[2, 8, 8]"},
    "no side": {"shape": "[0, 8, 8]"},
    "strangers": {"sample_ids": '["a", "b", "c", "d", "e", "f"]'},
    "ids of numbers": {"sample_ids": "[1, 2, 3, 4, 5, 6]"},
    "one id": {"sample_ids": '["1"]'},
    "no code": {"images": '"é"'},
    "no text": {"images": "[]"},
    "few gradients": {"gradients": "[null]"},
    "a gradient": {"gradients": "3"},
    "kinds": {"kinds": '["best", "best", "best", "best", "best", "<b>"]'},
}


def with_pictures(field, value):
    """Spoils a file by a field of its gallery, given as JSON."""

    def spoil(path):
        kept = written.provenance_of(path)
        kept["gallery"][field] = "HERE"
        written.rewrite(path, json.dumps(kept).replace('"HERE"', value))

    return spoil


@pytest.mark.parametrize("images", ["", "AAAA", "eJwDAAAAAAE="])
def test_pictures_that_unpack_to_nothing_cost_their_model_the_site_alone(folder, digits, images):
    kept = written.provenance_of(folder / BAD)
    written.change(folder / BAD, maps=kept["maps"] | {"images": images})
    said = []
    assert len(read_study(folder, digits, said.append).models) == len(KEPT)
    assert len(said) == 1 and "noise-0.15" in said[0] and "pictures" in said[0]


def test_fields_of_other_versions_stay_readable(folder, digits):
    """Whoever writes them."""
    added = {"carbon": {"grams": 3.5, "where": "Tübingen, 5 °C"}, "note": None, "list": [1, [2.5, "x"]]}
    written.change(folder / BAD, **added)
    read = next(result for result in results.read_all(folder, digits) if result.name == "digits/noise-0.15")
    assert added.items() <= read.document.items()


def test_every_published_file_and_record_is_read_with_its_values():
    """Those of version 0.1.0, field by field."""
    count = 0
    for path in sorted(results.PUBLISHED.rglob("*.parquet")):
        content = written.provenance_of(path)
        said, kept = plain.parse(json.dumps(content).encode()), results.Provenance.model_validate(content)
        assert said == content
        for name, value in kept.model_dump(mode="json", exclude_unset=True).items():
            if name != "card":
                assert value == content[name] or name == "networks", (path, name)
        weights = {part: net.get("weights_sha256") for part, net in content.get("networks", {}).items()}
        assert kept.target_weights == weights
        count += 1
    for path in sorted(results.PUBLISHED.rglob("*.verified.json")):
        assert json.loads(verification._read(path).model_dump_json(by_alias=True)) == json.loads(path.read_text())
    assert count > 300


FUTURE, PAST = "2098-01-01T00:00:00Z", "1970-01-01T00:00:00Z"


@pytest.mark.parametrize("moment", [FUTURE, PAST, "2098-01-01T00:00:00.5+14:00", "9999-12-31T23:59:59Z"])
def test_a_time_that_cannot_be_is_read_but_never_accepted_nor_shown_as_the_newest(folder, digits, moment):
    """A machine's own clock may have been wrong, and decides nothing."""
    kept = written.provenance_of(folder / BAD)
    for changed in ({"started": moment}, {"runs": [{"rows": 5, "started": moment}, *kept["runs"]]}):
        written.change(folder / BAD, **changed)
        study = read_study(folder, digits)
        assert len(study.models) == len(KEPT) + 1 and building.newest([study]).startswith("2026-11-")
        card = study.named("digits/noise-0.15").card
        (error,) = [one for one in check_results.check_results(folder / BAD, card, digits) if one.level == "error"]
        assert moment in error.message and "by the clock of this machine" in error.message


@pytest.mark.parametrize("year", [1970, 2000, 2020])
def test_a_clock_that_is_behind_refuses_no_published_file(folder, digits, monkeypatch, year):
    class Behind(plain.datetime):
        @classmethod
        def now(cls, zone):
            return cls(year, 1, 1, tzinfo=zone)

    monkeypatch.setattr(plain, "datetime", Behind)
    assert plain.is_plausible("2026-11-23T12:00:00Z") and not plain.is_plausible(FUTURE)


# Sizes, measured in a process of their own

READ = """
import resource, sys
from pathlib import Path
from pagbench import benchmarks, columns, results
from pagbench.errors import ResultsError
digits = benchmarks.load("digits@1")
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))  # so that a failure costs nobody else's memory
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        results.read(path, columns.schema(digits), len(digits.samples))
        line = "read"
    except ResultsError as error:
        line = str(error)
    peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
    print(path.name, int(peak) >> 10, line, sep="\\t")
"""


def varint(value):
    """As Thrift's compact protocol has it."""
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def listed(items, count):
    """A list of so many structs."""
    return (bytes([count << 4 | 12]) if count < 15 else b"\xfc" + varint(count)) + items


def footer(groups):
    """A file of nothing but a footer, with row groups."""
    schema = listed(b"\x48\x01r\x15\x02\x00" + b"\x15\x02\x25\x00\x18\x01c\x00", 2)
    content = b"\x15\x02\x19" + schema + b"\x16\x00\x19" + groups + b"\x00"
    return b"PAR1" + content + len(content).to_bytes(4, "little") + b"PAR1"


def chunks(groups, each):
    """So many row groups of so many column chunks, of three bytes each."""
    group = b"\x19" + listed(b"\x26\x00\x00" * each, each) + b"\x16\x00\x16\x00\x00"
    return footer(listed(group * groups, groups))


def bomb(path, digits, size, **options):
    """A file of few bytes whose one text unpacks to many, in every row."""
    table = written.empty(digits, 360)
    place = table.schema.names.index("family")
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 360, pa.int32()), pa.array(["a" * size]))
    if not options.get("use_dictionary", True):
        table, texts = table.slice(0, 1), pa.array(["a" * size])
    pq.write_table(table.set_column(place, "family", texts), path, store_schema=False, **options)
    assert path.stat().st_size < 2**22


def packed(content, times=1):
    """The keys of a footer whose provenance is so many repetitions of a text, which are never in memory together."""
    packing = zlib.compressobj()
    parts = [packing.compress(content) for _ in range(times)]
    return {"pagbench.packed": b85encode(b"".join([*parts, packing.flush()]))}


def one_field_often(count, size):
    """A schema of Arrow's whose fields are all the first one, which says something long."""
    fields = [pa.field("0", pa.float32(), metadata={"x": "y" * size})]
    message = bytearray(pa.schema(fields + [pa.field("1", pa.float32())] * (count - 1)).serialize().to_pybytes())
    slots = 4 + message.index(struct.pack("<I", count))
    first = slots + struct.unpack_from("<I", message, slots)[0]
    for slot in range(slots, slots + 4 * count, 4):
        struct.pack_into("<I", message, slot, first - slot)
    return bytes(message)


def test_the_schema_that_has_one_field_often_is_one_for_arrow():
    read = pa.ipc.read_schema(pa.py_buffer(one_field_often(9, 5)))
    assert [(field.name, field.metadata) for field in read] == [("0", {b"x": b"yyyyy"})] * 9


@pytest.fixture(scope="module")
def bombs(tmp_path_factory, digits):
    """What each of these files says when it is read, and the peak of memory then, in MiB."""
    home = tmp_path_factory.mktemp("bombs")
    (home / "00 honest").write_bytes(results.path_of(results.PUBLISHED, digits, "digits/noise-0.6").read_bytes())
    (home / "chunks in one group").write_bytes(chunks(1, 1_900_000))
    (home / "chunks in many groups").write_bytes(chunks(4_000, 140))
    (home / "chunks within the limits").write_bytes(chunks(150, 150))
    (home / "groups").write_bytes(chunks(900_000, 0))
    (home / "rows").write_bytes(footer(listed(b"\x19\x0c\x16\x00\x16" + varint(2**61) + b"\x00", 1)))
    for codec in ("brotli", "zstd", "gzip", "snappy", "lz4", "none"):
        size = 2**21 if codec == "none" else 2**25
        if codec != "snappy":
            bomb(home / f"dictionary {codec}", digits, size, compression=codec)
            bomb(home / f"text {codec}", digits, size, compression=codec, use_dictionary=False)
    bomb(home / "dictionary snappy", digits, 2**24, compression="snappy")
    bomb(home / "within the pages", digits, 500_000, compression="zstd")
    bomb(home / "by what was before", digits, 2**18, compression="zstd", use_dictionary=False,
         column_encoding={"family": "DELTA_BYTE_ARRAY"})  # fmt: skip
    pq.write_table(written.empty(digits, 1_000_360), home / "a million rows", compression="brotli")
    pq.write_table(written.empty(digits, 360), home / "pages", data_page_size=1, write_batch_size=1)
    pq.write_table(written.empty(digits, 360), home / "row groups", row_group_size=3)
    pq.write_table(pa.table({f"c{i}": [1.0] for i in range(140)}), home / "columns")
    pq.write_table(written.empty(digits, 1).replace_schema_metadata({"x": "y" * 5_500_000}), home / "metadata")
    for name, content in {"nested": "[" * 1_500_000, "lists": f"[{'[],' * 500_000}0]"}.items():
        pq.write_table(written.empty(digits, 1).replace_schema_metadata({"pagbench": content}), home / name)
    for name, keys in {
        "packed blanks": packed(b" " * 2**24, 64),
        "packed nested": packed(b"[" * 6 * 2**20),
        "packed lists": packed(b"[" + b"[]," * 2_000_000 + b"0]"),
        "packed zeros": {"pagbench.packed": "0" * 5_500_000},
    }.items():
        table = written.empty(digits, 1)
        with pq.ParquetWriter(home / name, table.schema, store_schema=False) as writer:  # as pagbench writes them
            writer.write_table(table)
            writer.add_key_value_metadata(keys)
    with pq.ParquetWriter(home / "fields of one", table.schema, store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"ARROW:schema": base64.b64encode(one_field_often(15_000, 1_000_000))})
    done = subprocess.run([sys.executable, "-c", READ, home], capture_output=True, text=True, check=True, timeout=100)
    return {name: (int(peak), line) for name, peak, line in (line.split("\t") for line in done.stdout.splitlines())}


def test_no_file_takes_memory_beyond_what_its_rows_need(bombs):
    assert max(peak for peak, _ in bombs.values()) < 1024, bombs
    assert bombs["00 honest"][1] == "read"
    for name, (_, line) in bombs.items():
        assert name == "00 honest" or (line != "read" and line.isprintable() and len(line) < 600), (name, line)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("chunks in one group", "size limit"),
        ("chunks in many groups", "size limit"),
        ("metadata", "more than 7743232 bytes"),
        ("dictionary zstd", "unpacks to more than"),
        ("dictionary gzip", "unpacks to more than"),
        ("text brotli", "unpacks to more than"),
        ("within the pages", "a text of 500000 bytes"),
        ("by what was before", "encoding 7"),
        ("a million rows", "1000360 rows, expected at most 360"),
        ("pages", "10000 pages"),
        ("row groups", "120 row groups"),
        ("packed blanks", "takes more than 6291456 bytes"),
        ("packed zeros", "its provenance is damaged"),
    ],
)
def test_the_line_says_which_size(bombs, name, reason):
    assert reason in bombs[name][1]


@pytest.mark.parametrize(
    "options",
    [
        {"data_page_version": "2.0"}, {"write_page_index": True}, {"write_statistics": True}, {"compression": "lz4"},
        {"compression": "none", "use_dictionary": False}, {"row_group_size": 50},
        {"write_page_checksum": True}, {"data_page_size": 300},
    ],
    ids=str,
)  # fmt: skip
def test_honest_files_of_other_writers_are_read(folder, digits, options):
    before = results.read(folder / BAD, columns.schema(digits), 360)
    written.rewrite(folder / BAD, **options)
    after = results.read(folder / BAD, columns.schema(digits), 360)
    assert after.rows.equals(before.rows) and after.document == before.document


def retyped(digits, name, kind):
    table = written.empty(digits, 3)
    return table.set_column(table.schema.names.index(name), name, pa.nulls(3, kind))


TYPES = {
    "lists": ("family", pa.list_(pa.string())),
    "structs": ("family", pa.struct([("a", pa.string())])),
    "bytes": ("family", pa.binary()),
    "decimals": ("strength", pa.decimal128(5)),
    "times": ("label", pa.timestamp("us", "UTC")),
    "other numbers": ("seed", pa.float64()),
    "an extension": ("sample_id", pa.uuid()),
}


def with_type(name, kind):
    """Spoils a file by a column of another type."""

    def spoil(path):
        table = pq.read_table(path)
        nulls = pa.nulls(len(table), kind)
        pq.write_table(table.set_column(table.schema.names.index(name), name, nulls), path)

    return spoil


ENDINGS = (b"PARE", b"PAR2", b"\xff\xff\xff\x7fPAR1", b"\x00\x00\x00\x80PAR1", b"\0\0\0\0PAR1")


def with_end(ending):
    """Spoils a file by its last bytes."""

    def spoil(path):
        path.write_bytes(path.read_bytes()[: -len(ending)] + ending)

    return spoil


def test_pages_that_are_not_where_the_footer_says_are_refused(folder, digits):
    """The walk over the pages ends where the footer says that they end."""
    schema = columns.schema(digits)
    opened = parquet.open_file((folder / BAD).read_bytes(), schema)
    chunk = opened.file.metadata.row_group(0).column(12)
    for shift in (-4, 3, 40):
        content = bytearray(opened.content)
        place = chunk.data_page_offset
        content[place : place + 60] = content[place + shift : place + shift + 60]
        with pytest.raises(ValueError, match=r"page|values|encoding"):
            parquet.read_rows(opened._replace(content=bytes(content)), schema, 360)


# What is no regular file


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such pipes on this system")
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "dangling"])
@pytest.mark.parametrize("name", ["results", "record"])
def test_a_pipe_or_a_device_is_one_line_at_once(folder, digits, others, kind, name):
    path = folder / BAD if name == "results" else verification.path_of(folder / BAD)
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if kind == "device" else "nowhere")
    done = []

    def read():
        if kind == "dangling":  # as if there were none
            assert len(pagbench.leaderboard(folder, benchmark=digits, on_warning=done.append)) >= len(KEPT)
        else:
            assert_costs_its_own_model(folder, digits, others)
        done.append(True)

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    reading.join(60)
    assert done[-1:] == [True], "it waits for ever, or says something else"


# Records

RECORDS = {
    "not JSON": "verified",
    "a list": "[]",
    "a verdict": {"verdict": "true"},
    "no number": {"worst_difference": float("nan")},
    "below 0": {"worst_difference": -1},
    "samples in text": {"samples": "50"},
    "samples without end": {"samples": 10**30},
    "a seed": {"seed": -1},
    "two lines": {"by": "me\nverified"},
    "an escape": {"by": "\x1b]0;x\x07"},
    "a mark of direction": {"reason": "a\u202eb"},
    "no width": {"device": "c\u200bpu"},
    "half a character": {"by": "\ud800"},
    "long": {"reason": "x" * 1001},
    "no time": {"when": "<b>"},
    "versions": {"versions": ["torch"]},
    "a field more": {"rank": 1},
    "another model's": {"entrant": "digits/standard"},
    "another benchmark's": {"benchmark": "gaussians@1"},
    "a key twice": '{"verdict": "verified", "verdict": "refuted"}',
}


def with_record(changed):
    """Spoils the record beside a file."""

    def spoil(path):
        record = json.loads(verification.path_of(results.PUBLISHED / BAD).read_text())
        name = path.relative_to(path.parents[1]).with_suffix("").as_posix()
        record |= {"entrant": name, "results_sha256": verification.sha256(path)}
        text = json.dumps({**record, **changed}) if isinstance(changed, dict) else changed
        write_file(verification.path_of(path), text)

    return spoil


# Rows that contradict the card, the benchmark or the others

ROWS = {
    "family": lambda rows: rows.assign(family="standard"),
    "family of text": lambda rows: rows.assign(family="=cmd()"),
    "strength": lambda rows: rows.assign(strength=7.0),
    "control": lambda rows: rows.assign(control=True),
    "seed": lambda rows: rows.assign(seed=-5),
    "version": lambda rows: rows.assign(version=2),
    "another's name": lambda rows: rows.assign(entrant="digits/standard"),
    "two names": lambda rows: rows.assign(entrant=rows["entrant"].where(rows.index > 0, "control/bayes")),
    "no name": lambda rows: rows.assign(entrant=None),
    "labels": lambda rows: rows.assign(label=rows["label"].to_numpy()[::-1]),
    "one label": lambda rows: rows.assign(label=rows["label"].where(rows.index > 0, (rows["label"] + 1) % 10)),
    "labels below 0": lambda rows: rows.assign(label=-1),
    "labels beyond": lambda rows: rows.assign(label=2**31 - 1),
    "samples": lambda rows: rows.assign(sample_id=[f"x{i}" for i in range(360)]),
    "samples twice": lambda rows: rows.assign(sample_id=rows["sample_id"].where(rows.index != 5, rows["sample_id"][6])),
    "samples of none": lambda rows: rows.assign(sample_id=None),
    "chance": lambda rows: rows.assign(alignment_lpips_chance=np.inf),
    "beyond": lambda rows: rows.assign(alignment_lpips=1.5),
    "temperature": lambda rows: rows.assign(temperature=-1.0),
    "responses": lambda rows: rows.assign(**{"on_response_0.5": 3.0}),
}


def with_rows(edit):
    """Spoils a file by its rows."""

    def spoil(path):
        schema = columns.schema(benchmarks.load("digits@1"))
        kept = results.read(path, schema)
        files.write(path, results.Result(edit(kept.rows), kept.document), schema)

    return spoil


SPOILT = {
    **{f"field, {kind}": with_field(*given) for kind, given in FIELDS.items()},
    **{f"pictures, {kind}": with_pictures(*given.popitem()) for kind, given in PICTURES.items()},
    **{f"record, {kind}": with_record(given) for kind, given in RECORDS.items()},
    **{f"rows, {kind}": with_rows(given) for kind, given in ROWS.items()},
    **{f"type, {kind}": with_type(*given) for kind, given in TYPES.items()},
    **{f"end, {number}": with_end(given) for number, given in enumerate(ENDINGS)},
}


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory, digits):
    """What the board and the study say of each of these files, which all lie in one folder with good ones."""
    home = written.copy(tmp_path_factory.mktemp("spoilt"), *KEPT)
    for number, spoil in enumerate(SPOILT.values()):
        spoil(written.lay(home, f"bad/{number:03}"))
    said, studied = [], []
    board = pagbench.leaderboard(home, benchmark=digits, on_warning=said.append)
    study = read_study(home, digits, studied.append)
    return board, study, said, studied


def test_bad_files_cost_no_other_model_anything(spoilt, others):
    board, study, said, studied = spoilt
    pd.testing.assert_frame_equal(board, others, check_exact=True)
    pd.testing.assert_frame_equal(study.board, pd.DataFrame(others), check_exact=True)
    assert len(said) == len(SPOILT) and studied == said


@pytest.mark.parametrize(("number", "kind"), enumerate(SPOILT), ids=str)
def test_a_bad_file_is_one_line_that_names_it(spoilt, number, kind):
    (line,) = [line for line in spoilt[2] if re.search(f"bad/(_records/)?{number:03}", line)]
    assert line.startswith("left out: ") and line.isprintable() and len(line) < 1000, line
    assert "cannot be used (" not in line, "nobody has thought of it"


@pytest.mark.parametrize(
    "edit",
    [
        {"alignment_lpips_chance": 1.0}, {"alignment_lpips": np.nan}, {"temperature": np.nan}, {"nll": np.nan},
        {"tangent_energy": np.nan, "alignment_cosine": np.nan}, {"alignment_lpips": -3e38}, {"confidence": 0.0},
        {"alignment_lpips": 1.0, "alignment_lpips_chance": 1 - 1e-7}, {"gradient_norm": 3e38},
    ],
    ids=str,
)  # fmt: skip
def test_values_that_may_be_change_no_other_models_numbers(folder, digits, others, edit):
    """They may push the others down by a rank, as every model may, and widen what is simultaneous."""
    schema = columns.schema(digits)
    kept = results.read(folder / BAD, schema)
    files.write(folder / BAD, results.Result(kept.rows.assign(**edit), kept.document), schema)
    board = pagbench.leaderboard(folder, benchmark=digits)
    theirs = board[board["model"] != "digits/noise-0.15"].reset_index(drop=True)
    own = [name for name in others if not name.startswith("rank")]
    pd.testing.assert_frame_equal(theirs[own], others[own], check_exact=True)
    assert theirs["rank"].notna().equals(others["rank"].notna())


def test_a_seed_that_nobody_has_does_not_become_the_boards(folder, digits):
    schema = columns.schema(digits)
    for index, path in enumerate(sorted(folder.rglob("*.parquet"))):
        seed = -5 if index == 3 else 7
        kept = results.read(path, schema)
        files.write(path, results.Result(kept.rows.assign(seed=seed), {**kept.document, "seed": seed}), schema)
    board = pagbench.leaderboard(folder, benchmark=digits).set_index("model")
    assert (board["status"].str.startswith("noise seed")).sum() == 1


# Submissions beside published results: none speaks for another


@pytest.fixture
def submit(folder, digits):
    """Lays results of a model into the folder of a submission."""

    def lay(own, name, edit=lambda rows: rows, *, measure=None, **changed):
        schema = columns.schema(digits, measure)
        source = results.path_of(results.PUBLISHED, digits, "digits/noise-0.15", measure)
        kept = results.read(source, schema)
        root = folder.parent / "submissions/digits@1" / own
        card = {**kept.document["card"], "id": name, **changed.pop("card", {})}
        rows = edit(kept.rows.assign(entrant=name))
        path = results.path_of(root / "results", digits, name, measure)
        files.write(path, results.Result(rows, {**kept.document, "card": card, **changed}), schema)
        (root / "model.yaml").write_text("")
        return path

    return lay


@pytest.mark.parametrize(
    ("own", "name", "reason"),
    [
        ("mine/net", "digits/standard", "in the folder of mine/net"),
        ("mine/net", "mine/other", "in the folder of mine/net"),
        ("digits/standard", "digits/standard", "both published and submitted"),
        ("control/mine", "control/mine", "an anchor or a control"),
    ],
)
def test_a_submission_has_no_other_models_name(folder, digits, submit, own, name, reason):
    before = pagbench.leaderboard(folder, benchmark=digits)
    submit(own, name)
    said = []
    after = pagbench.leaderboard(folder, benchmark=digits, on_warning=said.append)
    pd.testing.assert_frame_equal(after, before, check_exact=True)
    assert len(said) == 1 and reason in said[0]
    assert pagbench.compare(folder, "digits/standard", "digits/noise-0.6", benchmark=digits) is not None


def test_a_submission_cannot_take_the_place_of_an_anchor_that_is_missing(folder, digits, submit):
    (folder / "digits@1/control/bayes.parquet").unlink()
    before = pagbench.leaderboard(folder, benchmark=digits)
    submit("control/bayes", "control/bayes", lambda rows: rows.assign(control=True),
           card={"loader": "control", "architecture": "bayes"})  # fmt: skip
    submit("mine/control", "mine/control", lambda rows: rows.assign(control=True),
           card={"loader": "control", "architecture": "bayes"})  # fmt: skip
    said = []
    after = pagbench.leaderboard(folder, benchmark=digits, on_warning=said.append)
    pd.testing.assert_frame_equal(after, before, check_exact=True)
    assert len(said) == 2


def test_a_submission_brings_no_rows_of_an_optional_measure_of_another_model(folder, digits, submit):
    before = pagbench.leaderboard(folder, benchmark=digits)
    submit("mine/net", "digits/standard", measure="inpainting")
    after = pagbench.leaderboard(folder, benchmark=digits)
    pd.testing.assert_frame_equal(after, before, check_exact=True)


def test_submissions_do_not_outvote_what_is_published(folder, digits, submit):
    for path in folder.rglob("*.parquet"):
        written.change(path, networks={"score": {"weights_sha256": "a" * 64}})
    before = pagbench.leaderboard(folder, benchmark=digits)
    for index in range(6):
        submit(f"mine/{index}", f"mine/{index}", networks={"score": {"weights_sha256": "b" * 64}})
        submit(f"yours/{index}", f"yours/{index}", lambda rows: rows.assign(label=(rows["label"] + 1) % 10))
    said = []
    after = pagbench.leaderboard(folder, benchmark=digits, on_warning=said.append)
    pd.testing.assert_frame_equal(after, before, check_exact=True)
    assert len(said) == 12 and all("mine/" in line or "yours/" in line for line in said)


# What commands do


def test_every_command_that_reads_results_goes_on(folder, digits, tmp_path):
    written.change(folder / BAD, networks=[1])
    for command in (
        ["leaderboard", "-b", "digits@1", "--format", "markdown"],
        ["compare", "digits/standard", "digits/noise-0.6", "-b", "digits@1"],
        ["export", "digits/noise-0.6", "-b", "digits@1"], ["show", "digits/noise-0.6"],
        ["site", "--output", tmp_path / "site"],
    ):  # fmt: skip
        done = invoke(*command, "-r", folder)
        assert done.exit_code == 0 and "Traceback" not in done.output, done.output
        lines = [line for line in done.stderr.splitlines() if "left out" in line]
        assert len(lines) == (0 if command[0] == "compare" else 1), done.stderr
    done = invoke("compare", "digits/standard", "digits/noise-0.15", "-b", "digits@1", "-r", folder)
    assert done.exit_code == 2 and "field 'networks'" in done.stderr


def test_a_run_measures_its_own_file_anew_and_keeps_the_others(folder, digits):
    written.change(folder / BAD, wall_seconds="x")
    said = []
    rows = pagbench.run(
        ["digits/noise-0.15", "digits/standard"], benchmark=digits, limit=2, results=folder, on_warning=said.append,
        anchors=False, device="cpu",
    )  # fmt: skip
    assert sorted(rows["entrant"].unique()) == ["digits/noise-0.15", "digits/standard"]
    assert any("its rows are measured again" in line for line in said)
