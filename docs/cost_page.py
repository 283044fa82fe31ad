"""The page on what the zoo costs, from three tables of counts; `docs/cost.py` makes them."""

from collections.abc import Iterator
from pathlib import Path

from rich.filesize import decimal

from pagbench.benchmarks.cost import MODELS, TFLOPS, UNITS, Cost, Row, costs, hours, read, targets
from pagbench.models.sources import robustbench
from pagbench.running.target_files import LARGEST
from pagbench.running.targets import _MEMORY

HERE = Path(__file__).parent
PAGE, SPEED = HERE / "reference" / "cost.md", HERE / "cost-speed.csv"
_DEAREST = 5


def totals(tflops: float) -> str:
    """A Markdown table by data set and threat, and of all."""
    found = costs()
    groups: dict[str, list[Cost]] = {}
    for cost in found:
        groups.setdefault(" ".join(cost.id.split("/")[:2]), []).append(cost)
    once = targets()
    lines = [
        "| data set, threat | models | TFLOP of one forward pass through all | PFLOP | GPU hours | weights | results |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *(_total(name, group, tflops) for name, group in groups.items()),
        f"| targets, once | | | {once / 1000:,.0f} | {hours(once, tflops):,.1f} | | |",
        _total("all", found, tflops, once),
    ]
    return "\n".join(lines)


def _total(name: str, group: list[Cost], tflops: float, once: float = 0.0) -> str:
    operations = sum(cost.operations for cost in group) + once
    size, results = sum(c.weights for c in group), sum(c.results for c in group)
    return (
        f"| {name} | {len(group)} | {sum(c.forward for c in group):.2f} | {operations / 1000:,.0f} "
        f"| {hours(operations, tflops):,.1f} | {decimal(size)} | {decimal(results)} |"
    )


_INTRODUCTION = """\
# What the zoo costs

How long it takes, and how many bytes, to measure all of RobustBench's models on `cifar10@2`, `cifar100@2` and
`imagenet@1`. Nobody has run it: operations, passes and bytes are **counted**, seconds on a CPU are **measured**, GPU
hours are an **estimate** that rests on one assumption, the throughput. Written by `docs/cost.py` from three tables.

## The formula

```
GPU hours = (targets, once + for each model: images × (forward passes × F + backward passes × B + LPIPS)
             + passes once per model) ÷ throughput ÷ 3600
```

- **F** and **B** are the floating-point operations of a model's forward pass of one image, and of the backward pass to
  its pixels: two for each multiplication with addition, in convolutions and matrix products, as PyTorch's
  `FlopCounterMode` counts them on each network with random weights
  ([models.csv](../../pagbench/benchmarks/cost/models.csv); `python docs/cost.py models`).
  The weights are frozen, so that B exceeds F by {more:.0%} at most: a gradient costs two forward passes, not three.
- **Passes** are counted by running `pagbench.run` on each definition with fewer images, which are noise, and a network
  that counts ([units.csv](../../pagbench/benchmarks/cost/units.csv); `python docs/cost.py units`). A test compares it
  with the code.
- **Throughput** is an assumption, not a measurement: {tflops:g} TFLOP/s in float32, in which pagbench computes, with
  TF32 off. An H100 of 132 multiprocessors has [at most 66.9](https://modal.com/gpu-glossary/perf/peak-rate); no network
  reaches the peak, and small ones stay far below it. Put in your own: `python docs/cost.py total --tflops 10`.
- **Targets** of the images, for which `imagenet@1` asks a diffusion model, are computed once for all models that share
  a cache folder. They come in whole chunks of 64 neighbours in the order of measurement, 16 of large images."""

_ONCE = """
Once per model come the pre-flight card, the images that the temperature is fitted on, and the pictures. Some of the
card's passes are in float64, which many GPUs do slowly. Its tries of calibration images and of other ranges and layouts
are left out: they take up to 256 passes, and up to 3,600 of a network that is wrong on most images. Optional
measures, as AutoAttack, are not in it, nor is the
Bayes control, which is no network."""

_SIZES = """
Targets are kept in `$PAGBENCH_CACHE/targets` (`~/.cache/pagbench/targets` by default), an LPIPS embedding among them:
up to {room} per benchmark, where the disk has twice as much free as they need; otherwise every run computes them
again. Their sizes here are those that pagbench reckons with, an upper bound. Each model's run reads them from there; a
process has the latest {memory} of them in memory, two chunks at least.

Weights are four bytes a parameter: no list gives the sizes of the files, and some hold more than one set. Results are
the Parquet file of a run on noise, whose pictures compress least. Memory is that of a batch of 64 images: the weights
and what autograd keeps between the passes, counted with the operations; what a library takes besides is not in it."""

_SPLIT = """\
## How to split it

Models and images are independent, so that the hours divide by the number of GPUs, but for targets and starts.

- On one machine, `--executor local:J` has J workers, each with a share of the cores, and a GPU where there are several.
  On a cluster, `--executor ray[:ADDRESS]` takes what Ray has; a unit of work asks for one GPU, or for the share that
  `--gpus-per-task` says. Without Ray, the runs of a job array with `--shard i/n` fill one results folder, each with a
  part of the images; the last of them merges it.
- Targets are shared by all processes that see the same cache folder and compute on the same kind of device with the
  same versions of pagbench and PyTorch; without it, every machine computes them for itself. Nobody waits for another:
  workers that come to the same images at the same time each compute their targets. Where these are dear, as on
  `imagenet@1`, measure one small model first; the others then find them.
- A run that was killed goes on from the batches that are finished.
- Take the dearest models first: they decide when the last GPU is done."""


def page() -> str:
    """The whole page."""
    units, found = read(UNITS), costs()
    parts = [
        _INTRODUCTION.format(tflops=TFLOPS, more=_excess()),
        "\n".join(_passes(units)),
        "## The total, an estimate\n",
        *_judged(found, units),
        "## The dearest models\n",
        "\n".join(_dearest(found)),
        "## Bytes\n",
        "\n".join(_bytes(found, units)),
        "## A CPU instead\n",
        "\n".join(_speeds(found)),
        _SPLIT,
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _excess() -> float:
    """By how much a backward pass takes more than the forward pass, at most."""
    return max(int(row["backward"]) / int(row["forward"]) for row in read(MODELS) if row["forward"]) - 1


def _passes(units: list[Row]) -> Iterator[str]:
    yield "| benchmark | images | forward passes of an image | backward | forward passes once per model | backward |"
    yield "|---|---:|---:|---:|---:|---:|"
    for unit in units:
        once = int(unit["calibration"]) * float(unit["forward_calibration"]) + float(unit["forward_once"])
        passes = f"{float(unit['forward']):g} | {float(unit['backward']):g}"
        images = f"{int(unit['images']):,}"
        yield f"| {unit['benchmark']} | {images} | {passes} | {once:,.0f} | {float(unit['backward_once']):,.0f} |"
    yield _ONCE


def _judged(found: list[Cost], units: list[Row]) -> Iterator[str]:
    yield totals(TFLOPS)
    gradients, once = sum(cost.others for cost in found), targets()
    whole = sum(cost.operations for cost in found) + once
    score = next(unit for unit in units if int(unit["score_flops"]))
    yield (
        f"At {TFLOPS:g} TFLOP/s. Of it {gradients / whole:.1%} is LPIPS of the models' gradients, and "
        f"{once / whole:.1%} the targets:\non `{score['benchmark']}` {float(score['score_target']):g} passes of "
        f"{int(score['score_flops']) / 1e12:.2f} TFLOP through the score model for each image, and LPIPS.\n"
        "Targets of the CIFAR benchmarks, and the fit of their density by the first run, are not counted: their pages "
        "have the times. The first editions take 75 forward passes of an image, and 11 or 1 backward."
    )
    lost = [row for row in read(MODELS) if not row["forward"]]
    counted = f"{len(found)} of {len(list(robustbench.names()))} models are counted"
    if lost:
        told = (f"`{row['id']}` ({row['where'].removeprefix('not counted: ').rstrip('.')})" for row in lost)
        counted += f"; the counter fails on {', '.join(told)}"
    dependent = sum(row["where"] == "cpu" for row in read(MODELS))
    yield f"{counted}. {dependent} look at values, and were counted on a CPU; the others on tensors without values."


def _dearest(found: list[Cost]) -> Iterator[str]:
    yield "| model | TFLOP of a forward pass | GPU hours | weights | memory, 64 images |"
    yield "|---|---:|---:|---:|---:|"
    for cost in sorted(found, key=lambda cost: -cost.operations)[:_DEAREST]:
        size, memory = decimal(cost.weights), decimal(cost.memory)
        yield f"| {cost.id} | {cost.forward:.3f} | {hours(cost.operations):.2f} | {size} | {memory} |"


def _bytes(found: list[Cost], units: list[Row]) -> Iterator[str]:
    yield "| benchmark | targets of an image | of all | weights | results of a model | memory: median, most |"
    yield "|---|---:|---:|---:|---:|---:|"
    for unit in units:
        group = [cost for cost in found if cost.id.startswith(unit["benchmark"].partition("@")[0] + "/")]
        if not group:
            continue
        memory = sorted(cost.memory for cost in group)
        size, images, weights = int(unit["target_bytes"]), int(unit["images"]), sum(cost.weights for cost in group)
        yield (
            f"| {unit['benchmark']} | {decimal(size)} | {decimal(size * images)} | {decimal(weights)} "
            f"| {decimal(group[0].results)} | {decimal(memory[len(memory) // 2])}, {decimal(memory[-1])} |"
        )
    yield _SIZES.format(room=decimal(LARGEST), memory=decimal(_MEMORY))


def _speeds(found: list[Cost]) -> Iterator[str]:
    rows = read(SPEED)
    seconds = sorted(float(row["seconds_per_tflop"]) for row in rows)
    yield "| model | CPU seconds for a TFLOP |"
    yield "|---|---:|"
    for row in rows:
        yield f"| {row['id']} | {float(row['seconds_per_tflop']):.0f} |"
    yield ""
    days = (sum(cost.operations for cost in found) + targets()) * seconds[len(seconds) // 2] / 86400
    yield (
        f"Measured: CPU time of one thread for the forward and the backward pass of {rows[0]['images']} images, the\n"
        "fastest of four, on a two-core machine that others used at the same time (`python docs/cost.py speed`). At\n"
        f"the median the whole zoo would take one such core {days:,.0f} days: this is work for GPUs."
    )
