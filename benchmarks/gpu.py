"""Rows, speed and memory on a CUDA device, in one table: `make bench-gpu`, under eight minutes.

Compares rows with the CPU's, times targets and the passes of a WideResNet-28-10 at 32×32, and watches how the batch
size grows. `--device cpu --quick` tries the script where there is no such device.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd
import setting
import torch
from torch import nn

import pagbench
from pagbench import benchmarks, data, measures
from pagbench.columns import IDENTITY
from pagbench.errors import PagbenchError
from pagbench.models import registry
from pagbench.models.classifier import Classifier
from pagbench.models.devices import BatchSize, choose_device
from pagbench.models.sources.robustbench import zoo
from pagbench.running import targets

T = TypeVar("T")
AGREE = 1e-4
"""Largest difference between devices, of a value's size plus its column's root mean square."""
COMPARED = {
    "digits@2": (("digits/standard", "digits/noise-0.6", "control/bayes"), 64),
    "fashion-mnist@2": (("fashion-mnist/standard", "fashion-mnist/noise-1", "control/bayes"), 64),
}
TAKEN = ("accuracy", "response", "faithfulness", "tangent", "alignment_cosine", "alignment_lpips")


class Line(NamedTuple):
    """A line of the table; a requirement that is not met ends the script with 1."""

    what: str
    found: str
    required: str = ""
    met: bool | None = None


def wide_resnet() -> nn.Module:
    """WideResNet-28-10 as RobustBench builds it, with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return zoo.untrained(registry.find("robustbench/cifar10/L2/Standard").card).eval()


def timed(device: torch.device, work: Callable[[], T]) -> tuple[float, T]:
    """Seconds of some work, with all that the device still has to do."""
    settle(device)
    start = time.perf_counter()
    found = work()
    settle(device)
    return time.perf_counter() - start, found


def settle(device: torch.device) -> None:
    """Waits for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rows(label: str, device: torch.device, few: int | None) -> Line:
    """The largest difference between the device's rows and the CPU's."""
    models, count = COMPARED[label]
    what = f"rows of {label}, {len(models)} models, {few or count} images, against the CPU's"
    try:
        there, here = (
            pagbench.run(models, benchmark=label, limit=few or count, device=name, anchors=False)
            for name in (str(device), "cpu")
        )
    except PagbenchError as error:
        return Line(what, f"skipped: {error}")
    column, excess = largest_difference(there, here)
    return Line(what, f"at most {excess:.1e} ({column})", f"≤ {AGREE:g}", excess <= AGREE)


def largest_difference(there: pd.DataFrame, here: pd.DataFrame) -> tuple[str, float]:
    """The column that differs most, and by how much of a value's size plus the column's root mean square.

    Infinite where a value is missing on one side alone.
    """
    names = [name for name in here.select_dtypes("number") if name not in IDENTITY]
    one, other = (found[names].to_numpy(float) for found in (there, here))
    scale = np.abs(other) + np.sqrt(np.nanmean(other**2, axis=0))
    excess = np.where(np.isnan(one) & np.isnan(other), 0.0, np.abs(one - other) / np.maximum(scale, 1e-12))
    worst = np.nan_to_num(excess, nan=np.inf).max(axis=0)
    return names[int(worst.argmax())], float(worst.max())


def target(label: str, device: torch.device, count: int) -> Line:
    """Seconds for targets and tangent spaces."""
    benchmark = benchmarks.load(label)
    what = f"targets and tangent spaces of {label}, {count} images"
    try:
        splits = data.splits(benchmark)
    except PagbenchError as error:
        return Line(what, f"skipped: {error}")
    ids = benchmark.samples[:count]

    def work() -> None:
        found = targets.compute(benchmark, splits, ids, seed=benchmark.seed, device=device)
        for start in range(0, len(ids), 64):
            found.batch(ids[start : start + 64])

    return Line(what, f"{timed(device, work)[0]:.1f} s")


def passes(device: torch.device, count: int, network: nn.Module, name: str) -> Iterator[Line]:
    """Bare passes and all measures of a network at 32×32, with the memory that they take."""
    network = network.to(device)
    benchmark = setting.definition(epsilons=(2.64,), epsilon=2.64, directions=4, measures=TAKEN)
    batch = setting.batch(benchmark, count)
    tensors = {name: value.to(device) for name, value in vars(batch).items() if isinstance(value, torch.Tensor)}
    batch = replace(batch, **tensors)
    pixels = batch.images.clone().requires_grad_(True)

    def forward() -> None:
        with torch.no_grad():
            network(batch.images)

    def backward() -> None:
        torch.autograd.grad(network(pixels).sum(), pixels)

    for work in (forward, backward):
        work()  # the first picks algorithms
    one, both = timed(device, forward)[0], timed(device, backward)[0]
    yield Line(f"{name}, {count} images of 32×32: a forward pass; with its backward pass", f"{one:.3f} s; {both:.3f} s")

    def measured() -> None:
        seen = setting.context(Classifier(network), benchmark, batch)
        for measure in benchmark.measures:
            measures.load(measure)(seen)

    measured()
    seconds = timed(device, measured)[0]
    floor = 18 * one + both
    more = seconds / floor - 1
    yield Line("all measures of it", f"{seconds:.2f} s, {more:+.0%} of its 19 passes", "≤ +10 %", more <= 0.1)
    yield from memory(device, network, name)


def memory(device: torch.device, network: nn.Module, name: str) -> Iterator[Line]:
    """The largest batch that the finder dares, and the memory it took."""
    if device.type != "cuda":
        return
    benchmark = benchmarks.load("cifar10@1")
    size, sizes, peaks = BatchSize(None, benchmark, device), list[int](), list[int]()
    images = torch.rand(8192, *benchmark.input_shape)

    def work(ids: tuple[str, ...]) -> None:
        sizes.append(len(ids))
        pixels = images[: len(ids)].to(device).requires_grad_(True)
        torch.autograd.grad(network(pixels).sum(), pixels)
        peaks.append(torch.cuda.max_memory_allocated(device))

    for _ in size.parts(tuple(map(str, range(8192))), work):
        pass
    peak, total = max(peaks) / 2**30, torch.cuda.mem_get_info(device)[1] / 2**30
    grown = " → ".join(map(str, dict.fromkeys(sizes)))
    yield Line(f"batches of {name} that the finder tries", grown)
    yield Line("peak memory", f"{peak:.1f} of {total:.0f} GiB", "≤ 80 %", peak <= 0.8 * total)


def main() -> int:
    """Prints the table; 1 where a requirement is not met, 2 where there is no such device."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="few images, ResNet-18")
    arguments = parser.parse_args()
    try:
        device = choose_device(arguments.device)
    except PagbenchError as error:
        sys.stderr.write(f"nothing measured: {error}\n")
        return 2
    quick = arguments.quick
    network, network_name = (setting.network(), "ResNet-18") if quick else (wide_resnet(), "WideResNet-28-10")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    sys.stdout.write(
        f"{name}, PyTorch {torch.__version__}\n\n| what | measured | required | met |\n|---|---|---|---|\n"
    )
    missed = 0
    lines = chain(
        (rows(label, device, 4 if quick else None) for label in COMPARED),
        (target(label, device, 8 if quick else 1000) for label in ("fashion-mnist@2",)),
        passes(device, 8 if quick else 256, network, network_name),
    )
    for line in lines:
        met = {None: "", True: "yes", False: "**no**"}[line.met]
        sys.stdout.write(f"| {line.what} | {line.found} | {line.required} | {met} |\n")
        sys.stdout.flush()
        missed += line.met is False
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
