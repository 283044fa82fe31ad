"""A copied network that leads the table is called one where it is praised."""

import shutil

from pagbench import columns, results
from pagbench.reports.site import build
from pagbench.results import PUBLISHED, Result, verification


def test_the_first_place_is_called_a_copy_where_it_is_one(digits, tmp_path):
    home = tmp_path / "results" / "digits@1"
    for name in ("digits/standard", "digits/noise-0.6", "control/bayes"):
        file, kept = home / f"{name}.parquet", PUBLISHED / "digits@1" / f"{name}.parquet"
        verification.path_of(file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(kept, file)
        shutil.copyfile(verification.path_of(kept), verification.path_of(file))
    schema = columns.schema(digits)
    honest = results.read(home / "digits/noise-0.6.parquet", schema)
    document = {**honest.document, "card": {**honest.document["card"], "id": "digits/a-copy"}}
    rows = honest.rows.assign(entrant="digits/a-copy")
    results.write(home / "digits/a-copy.parquet", Result(rows, document), schema)
    build(tmp_path / "results", tmp_path / "site")
    page = (tmp_path / "site/benchmarks/digits@1.html").read_text(encoding="utf-8")
    first = page.partition("Most aligned gradients")[2].partition("<table")[0]
    assert "digits/a-copy" in first
    assert '<strong class="unsure">A copy</strong>: it has the outputs of digits/noise-0.6, up to a factor.' in first
