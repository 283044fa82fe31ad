"""Whether the pictures in a submitted results file can be read, and are of the benchmark's images. No torch."""

from collections.abc import Iterator

from pagbench import columns
from pagbench.benchmarks import Benchmark
from pagbench.errors import ResultsError
from pagbench.results import Result, thumbnails

_AGAIN = "measure again (pagbench submit run DIR --overwrite)"


def faults(result: Result, benchmark: Benchmark, measure: str | None) -> Iterator[str]:
    """What is wrong with the pictures of a results file: its maps and its gallery, and what an ability has made.

    Args:
        result: of one model.
        benchmark: the definition.
        measure: the optional measure that the results are of; None for the benchmark's own measures.
    """
    said, name = result.provenance, result.provenance["card"]["id"]
    made = said.get("made") or {}
    expected = columns.MEASURES[measure].images if measure in columns.ABILITIES else ()
    unknown = sorted(set(made) - set(expected)) if isinstance(made, dict) else []
    if unknown:
        yield f"its pictures are of {unknown[0][:60]!r}, expected {' or '.join(expected) or 'none'}; {_AGAIN}"
        return
    try:
        shown = [thumbnails.decode(said.get(key), name) for key in ("maps", "gallery")]
        found = [one for one in (*shown, *thumbnails.decode_generated(made, name).values()) if one is not None]
    except ResultsError as error:
        yield str(error)
        return
    known, shape = set(benchmark.samples), thumbnails.reduced_shape(benchmark.input_shape)
    if any(not set(one.sample_ids) <= known for one in found):
        yield f"its pictures are of images that the benchmark does not have; {_AGAIN}"
    for one in found:
        if one.images.shape[1:] != shape:
            yield f"a picture has the shape {one.images.shape[1:]}, expected {shape}; {_AGAIN}"
            return
