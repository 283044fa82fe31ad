"""The page on what the zoo costs, from three tables of counts; `docs/cost.py` makes them."""

from collections.abc import Iterator
from pathlib import Path

from rich.filesize import decimal

from pagbench.benchmarks.cost import MODELS, TFLOPS, UNITS, Cost, Row, costs, hours, read, targets
from pagbench.models.sources import robustbench
from pagbench.running.target_files import LARGEST

HERE = Path(__file__).parent
PAGE, SPEED = HERE / "reference" / "cost.md", HERE / "cost-speed.csv"
_DEAREST = 3


def totals(tflops: float) -> str:
    """A Markdown table by data set and threat, and of all."""
    found = costs()
    groups: dict[str, list[Cost]] = {}
    for cost in found:
        groups.setdefault(" ".join(cost.id.split("/")[:2]), []).append(cost)
    once = targets()
    lines = [
        "| data set, threat | models | PFLOP | GPU hours | weights |",
        "|---|---:|---:|---:|---:|",
        *(_total(name, group, tflops) for name, group in groups.items()),
        f"| targets, once | | {once / 1000:,.0f} | {hours(once, tflops):,.1f} | |",
        _total("all", found, tflops, once),
    ]
    return "\n".join(lines)


def _total(name: str, group: list[Cost], tflops: float, once: float = 0.0) -> str:
    operations = sum(cost.operations for cost in group) + once
    size = decimal(sum(cost.weights for cost in group))
    return f"| {name} | {len(group)} | {operations / 1000:,.0f} | {hours(operations, tflops):,.1f} | {size} |"


_INTRODUCTION = """\
# What the zoo costs

How long it takes to measure all of RobustBench's models on `cifar10@2`, `cifar100@2` and `imagenet@1`. Nobody has run
it. Operations, passes and bytes are **counted**. GPU hours are an **estimate** that rests on one assumption, the
throughput. `docs/cost.py` writes this page.

## The formula

```
GPU hours = (targets, once + for each model: images × (forward passes × F + backward passes × B + LPIPS)
             + passes once per model) ÷ throughput ÷ 3600
```

- **F** and **B** are the floating-point operations of a model's forward pass of one image, and of the backward pass to
  its pixels, by PyTorch's `FlopCounterMode` ([models.csv](../../pagbench/benchmarks/cost/models.csv);
  `python docs/cost.py models`). B exceeds F by {more:.0%} at most, for the weights are frozen.
- **Passes** are counted by running `pagbench.run` with a network that counts
  ([units.csv](../../pagbench/benchmarks/cost/units.csv); `python docs/cost.py units`). A test compares
  them with the code.
- **Throughput** is assumed: {tflops:g} TFLOP/s in float32, without TF32. An H100 has
  [at most 66.9](https://modal.com/gpu-glossary/perf/peak-rate). Put in your own:
  `python docs/cost.py total --tflops 10`.
- **Targets** are computed once for all models that share a cache folder."""

_ONCE = """
Once per model come pre-flight, calibration images and pictures. Not counted: tries of other ranges and layouts (up to
256 passes, 3,600 of a network that is wrong on most images), optional measures, the Bayes control."""

_SIZES = """
Targets are kept in `$PAGBENCH_CACHE/targets`, up to {room} for a benchmark and half of the free disk.
Weights are four bytes a parameter. Memory is that of a batch of 64 images."""

_SPLIT = """\
## How to split it

Models and images are independent ([clusters](../how-to/clusters.md)). Take the dearest models first."""


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
        _cpu(found),
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
        f"At {TFLOPS:g} TFLOP/s. LPIPS of the models' gradients is {gradients / whole:.1%} of it, the targets "
        f"{once / whole:.1%}: on `{score['benchmark']}`\n{float(score['score_target']):g} passes of "
        f"{int(score['score_flops']) / 1e12:.2f} TFLOP for each image. Targets of the CIFAR benchmarks are left out."
    )
    counted = f"{len(found)} of {len(list(robustbench.names()))} models are counted"
    lost = ", ".join(f"`{row['id']}`" for row in read(MODELS) if not row["forward"])
    yield f"{counted}; the counter fails on {lost}." if lost else f"{counted}."


def _dearest(found: list[Cost]) -> Iterator[str]:
    yield "| model | GPU hours | weights | memory, 64 images |"
    yield "|---|---:|---:|---:|"
    for cost in sorted(found, key=lambda cost: -cost.operations)[:_DEAREST]:
        size, memory = decimal(cost.weights), decimal(cost.memory)
        yield f"| {cost.id} | {hours(cost.operations):.2f} | {size} | {memory} |"


def _bytes(found: list[Cost], units: list[Row]) -> Iterator[str]:
    yield "| benchmark | targets of an image | of all | results of a model | memory: median, most |"
    yield "|---|---:|---:|---:|---:|"
    for unit in units:
        group = [cost for cost in found if cost.id.startswith(unit["benchmark"].partition("@")[0] + "/")]
        if not group:
            continue
        memory = sorted(cost.memory for cost in group)
        size, images = int(unit["target_bytes"]), int(unit["images"])
        yield (
            f"| {unit['benchmark']} | {decimal(size)} | {decimal(size * images)} "
            f"| {decimal(group[0].results)} | {decimal(memory[len(memory) // 2])}, {decimal(memory[-1])} |"
        )
    yield _SIZES.format(room=decimal(LARGEST))


def _cpu(found: list[Cost]) -> str:
    rows = read(SPEED)
    seconds = sorted(float(row["seconds_per_tflop"]) for row in rows)
    days = (sum(cost.operations for cost in found) + targets()) * seconds[len(seconds) // 2] / 86400
    return (
        f"A TFLOP takes one thread {seconds[0]:.0f} to {seconds[-1]:.0f} CPU seconds, by {len(rows)} models "
        f"([cost-speed.csv](../cost-speed.csv); `python docs/cost.py speed`).\n"
        f"At the median the whole zoo would take one core {days:,.0f} days: this is work for GPUs."
    )
