"""Time and peak memory of `pagbench.run` against images, models, the side of the images and directions.

`python benchmarks/growth.py` measures every point in a process of its own, writes `docs/figures/growth.csv` and draws
`docs/figures/growth.png`; `--quick` takes the two smallest points of each curve and only prints them.
"""

import argparse
import csv
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / "docs" / "figures"

CURVES: dict[str, list[int]] = {
    "images": [200, 1000, 3000, 10_000],
    "models": [1, 5, 20, 40],
    "side": [28, 56, 112, 224],
    "directions": [4, 8, 16, 32],
}
USUAL = {"images": 200, "models": 1, "side": 28, "directions": 4}
"""What the other curves keep."""

FEWER = {"side": {"images": 64}}
"""Where a curve keeps less, since each point costs more."""

FIELDS = ["curve", *USUAL, "cpu_seconds", "peak_mb"]
_MEASURES = ("accuracy", "response", "faithfulness", "tangent", "alignment_cosine")


def definition(point):
    """Gaussian classes of any side and number, whose targets are closed forms."""
    from pagbench import benchmarks
    from pagbench.benchmarks import Benchmark

    count, known = point["images"], benchmarks.load("gaussians").model_dump()
    dataset = {**known["dataset"], "side": point["side"], "count": count + 200, "rank": 32}
    changes = {
        "dataset": dataset, "input_shape": (1, point["side"], point["side"]), "measures": _MEASURES,
        "samples": [str(i) for i in range(count)], "calibration": [str(i) for i in range(count, count + 100)],
        "manifold": {"kind": "span", "rank": 32}, "directions": point["directions"],
        "reference": None, "thresholds": None,
    }  # fmt: skip
    return Benchmark.model_validate({**known, **changes})


def measure(point):
    """Runs one point in this process: CPU seconds of the run, and the most memory that the process ever held."""
    import torch

    import pagbench
    from pagbench.models import architectures

    torch.set_num_threads(1)
    torch.manual_seed(0)
    benchmark = definition(point)
    networks = {
        f"network-{index}": architectures.build("strided-cnn", benchmark.input_shape, benchmark.classes)
        for index in range(point["models"])
    }
    start = time.process_time()
    rows = pagbench.run(networks, benchmark=benchmark, limit=point["images"], anchors=False, device="cpu")
    seconds = time.process_time() - start
    assert len(rows) == point["images"] * point["models"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # kilobytes on Linux
    return {"cpu_seconds": round(seconds, 2), "peak_mb": round(peak)}


def in_a_process(point):
    """The same in a process of its own, whose memory nothing else has touched."""
    command = [sys.executable, __file__, "--point", json.dumps(point)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{point}: {done.stderr.strip().splitlines()[-1]}")
    return {**point, **json.loads(done.stdout.splitlines()[-1])}


def draw(found, path):
    """Time above, memory below, a column for each curve."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(2, len(CURVES), figsize=(12, 5), sharey="row", layout="constrained")
    for column, curve in zip(panels.T, CURVES, strict=True):
        points = [point for point in found if point["curve"] == curve]
        x = [point[curve] for point in points]
        column[0].loglog(x, [point["cpu_seconds"] for point in points], "o-")
        column[1].loglog(x, [point["peak_mb"] for point in points], "o-")
        column[1].set(xlabel=curve, xticks=x, xticklabels=x, ylim=(100, 3000))
        column[0].set(xticks=x, xticklabels=[])
        for panel in column:
            panel.minorticks_off()
            panel.grid(alpha=0.3)
    panels[0, 0].set_ylabel("CPU seconds")
    panels[1, 0].set_ylabel("peak memory, MB")
    figure.savefig(path, dpi=120)


def main():
    """Measures all points, or the one of `--point`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--point", type=json.loads, help="measure this one here, as JSON")
    parser.add_argument("--quick", action="store_true", help="two points of each curve, printed only")
    options = parser.parse_args()
    if options.point is not None:
        sys.stdout.write(json.dumps(measure(options.point)) + "\n")
        return
    found = []
    for curve, values in CURVES.items():
        for value in values[: 2 if options.quick else None]:
            found.append(in_a_process({**USUAL, **FEWER.get(curve, {}), "curve": curve, curve: value}))
            sys.stdout.write(f"{found[-1]}\n")
    if not options.quick:
        with (FIGURES / "growth.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            writer.writeheader()
            writer.writerows(found)
        draw(found, FIGURES / "growth.png")


if __name__ == "__main__":
    main()
