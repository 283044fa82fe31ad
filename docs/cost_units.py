"""What a benchmark asks for each image, counted by running it on a network of no size, with data of noise.

Everything is counted by what `pagbench.run` does: nothing is known here of its measures.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pyarrow.parquet as pq
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import pagbench
from pagbench import benchmarks, data
from pagbench.benchmarks import Benchmark
from pagbench.data import Dataset, Splits
from pagbench.densities import scores
from pagbench.measures import lpips
from pagbench.models import checks
from pagbench.results.preflight import Check
from pagbench.running import target_files, targets
from pagbench.storage import cache

COLUMNS = (
    "benchmark", "images", "calibration", "forward", "backward", "forward_calibration", "forward_once", "backward_once",
    "lpips", "lpips_target", "lpips_flops", "score_target", "score_flops", "target_bytes", "row_bytes", "file_bytes",
)  # fmt: skip
"""Passes per image; per image of the calibration split; once per model; operations of one pass; bytes.

Passes of targets are made once for all models. They come in whole chunks of images, of which the last is smaller.
"""

_SIDE = 64
"""Of larger images: the pictures in a results file have no larger ones."""

_BATCH = 64
"""Images at a time; the pre-flight card makes a few dozen passes more or fewer for other numbers."""

_PASSED = Check(name="range", verdict="pass", found="")
_TRAINING = 40
_NEIGHBOURS, _RANK = 24, 8
_PER_CLASS, _FIT = 4, {"components": 1, "rank": 2, "directions": 16}


class Counts(NamedTuple):
    """Images that passed in one run, and bytes of its results: their columns, and what stands beside them."""

    forward: int
    backward: int
    score: int
    lpips: int
    columns: int
    rest: int


class _Tally:
    """Counts as a run goes on."""

    def __init__(self) -> None:
        self.forward = self.backward = self.score = self.lpips = 0


class Counted(nn.Module):
    """Logits of the mean squared pixels; counts the images of each pass, in copies of itself, too."""

    def __init__(self, channels: int, classes: int, tally: _Tally) -> None:
        super().__init__()
        weight = torch.randn(channels, classes, generator=torch.Generator().manual_seed(0))
        self.weight, self._tally = nn.Parameter(weight), tally

    def __deepcopy__(self, memo: dict[int, Any]) -> "Counted":
        channels, classes = self.weight.shape
        return Counted(channels, classes, self._tally).to(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, of whose gradient the images are counted when it comes."""
        self._tally.forward += len(x)
        logits: Tensor = x.square().mean((2, 3)) @ self.weight
        if logits.requires_grad:
            logits.register_hook(self._count)
        return logits

    def _count(self, gradient: Tensor) -> None:
        self._tally.backward += len(gradient)


class _Score:
    """Stands for a diffusion model; counts the images that it is asked for."""

    def __init__(self, tally: _Tally) -> None:
        self._tally = tally

    def score(self, x: Tensor, sigma: float, labels: Tensor | None = None) -> Tensor:
        self._tally.score += len(x)
        return x - 0.5 if labels is None else (1 + labels.to(x)[:, None, None, None]) * (x - 0.5)


def run(label: str, images: int, calibration: int, side: int | None = None, models: int = 1) -> Counts:
    """Counts of one run on a benchmark of so many images, whose targets are kept on disk; bytes of one network.

    Args:
        label: of the benchmark; its measures, steps, directions and classes are kept.
        images: that are measured.
        calibration: that the temperature is fitted on; none where the benchmark has no such split.
        side: of the images; the benchmark's own by default. It changes no pass.
        models: networks that are measured, one after the other.
    """
    small = _small(benchmarks.load(label), images, calibration, side)
    tally = _Tally()
    networks = {f"counted-{index}": Counted(small.input_shape[0], small.classes, tally) for index in range(models)}
    with tempfile.TemporaryDirectory() as folder, _noise(small, tally), _own_cache():
        pagbench.run(networks, benchmark=small, results=folder, device="cpu", batch_size=_BATCH)
        path = next(Path(folder).rglob("*.parquet"))
        size, columns = path.stat().st_size, _columns(path)
    return Counts(tally.forward, tally.backward, tally.score, tally.lpips, columns, size - columns)


def _columns(path: Path) -> int:
    """Bytes of the columns in a Parquet file, compressed."""
    found = pq.ParquetFile(path).metadata
    groups = (found.row_group(index) for index in range(found.num_row_groups))
    return sum(group.column(index).total_compressed_size for group in groups for index in range(group.num_columns))


def _small(published: Benchmark, images: int, calibration: int, side: int | None) -> Benchmark:
    """The benchmark with fewer images, without anchors, and with tangent spaces that cost little."""
    score, training = published.score, 1
    if score.kind == "empirical":
        training = max(_TRAINING, published.classes)  # of each class one
    if score.recipe is not None:
        score = score.model_copy(update={"recipe": score.recipe.model_copy(update=_FIT)})
        training = _PER_CLASS * published.classes
    names = [str(index) for index in range(training + images + calibration)]
    channels, *sides = published.input_shape
    manifold = published.manifold
    if manifold is not None:
        manifold = manifold.model_copy(update={"neighbours": _NEIGHBOURS, "rank": _RANK})
    changed = {
        "score": score,
        "training": tuple(names[:training]),
        "samples": tuple(names[training : training + images]),
        "calibration": tuple(names[training + images :]) if published.calibration else (),
        "input_shape": (channels, side or sides[0], side or sides[1]),
        "manifold": manifold,
        "reference": None,
        "bayes": None,
        "thresholds": None,
    }
    return published.model_copy(update=changed)


@contextlib.contextmanager
def _noise(small: Benchmark, tally: _Tally) -> Iterator[None]:
    """Noise for images, and a stand-in for a score model that is a network."""
    names = (*(small.training or ()), *small.samples, *small.calibration)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(len(names), *small.input_shape, generator=generator)
    labels = torch.arange(len(names)) % small.classes
    every = Dataset(names, pixels, labels)
    splits = Splits(*(every.select(part) for part in (small.training or (), small.calibration, small.samples)))
    checks.probe.cache_clear()
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(data, "splits", lambda _: splits))
        tried, passed = mock.Mock(return_value=(_PASSED, 0)), mock.Mock(return_value=_PASSED, __name__="membership")
        for name, made in (("_better", tried), ("membership", passed)):  # whose passes depend on how often it is wrong
            stack.enter_context(mock.patch.object(checks._Examination, name, made))
        if small.score.kind not in ("empirical", "mixture"):
            stack.enter_context(mock.patch.object(scores, "load", lambda *_: _Score(tally)))
        stack.enter_context(mock.patch.object(lpips, "MIN_SIDE", 32))  # a quarter of the work, and no pass fewer
        network = lpips.model(torch.device("cpu")).net
        hook = network.register_forward_pre_hook(lambda _, inputs: _add(tally, inputs[0]))
        stack.callback(hook.remove)
        yield
    checks.probe.cache_clear()


def _add(tally: _Tally, images: Tensor) -> None:
    tally.lpips += len(images)


@contextlib.contextmanager
def _own_cache() -> Iterator[None]:
    """Targets are kept in a folder that goes, for stand-ins are not for later runs; few stay in memory."""
    with (
        tempfile.TemporaryDirectory() as folder,
        cache.environment({"PAGBENCH_CACHE": folder}),
        mock.patch.object(targets, "_MEMORY", 0),
    ):
        yield


def kept(benchmark: Benchmark) -> bool:
    """Whether the targets of all images are kept on disk, where there is room."""
    return len(benchmark.samples) * targets.size_of(benchmark) <= target_files.LARGEST


def of(label: str, images: tuple[int, int] = (256, 320)) -> dict[str, Any]:
    """The row of a benchmark: slopes and intercepts of the counts over two numbers of images, and of models."""
    published = benchmarks.load(label)
    side = min(_SIDE, *published.input_shape[1:])
    few, many = images
    calibrated = 8 if published.calibration else 0
    low, high = run(label, few, calibrated, side), run(label, many, calibrated, side)
    passes = Counts(*(round((b - a) / (many - few), 3) for a, b in zip(low, high, strict=True)))  # type: ignore[arg-type]
    further = run(label, few, 2 * calibrated, side).forward - low.forward if calibrated else 0
    per_calibration = further / calibrated if calibrated else 0
    own = run(label, few, calibrated, side, models=2).lpips / few - low.lpips / few
    return {
        "benchmark": label,
        "images": len(published.samples),
        "calibration": len(published.calibration),
        "forward": passes.forward,
        "backward": passes.backward,
        "forward_calibration": per_calibration,
        "forward_once": round(low.forward - few * passes.forward - calibrated * per_calibration),
        "backward_once": round(low.backward - few * passes.backward),
        "lpips": own,
        "lpips_target": passes.lpips - own,
        "lpips_flops": _flops(lpips.embed, published.input_shape),
        "score_target": passes.score,
        "score_flops": _score_flops(published),
        "target_bytes": targets.size_of(published),
        "row_bytes": round(high.columns / many, 1),
        "file_bytes": high.rest,
    }


def _flops(function: Any, shape: tuple[int, ...]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        function(torch.zeros(1, *shape))
    return int(counter.get_total_flops())


def _score_flops(benchmark: Benchmark) -> int:
    """Of one pass through the score model, where it is a network."""
    if benchmark.score.kind != "adm":
        return 0
    from azula.plugins import adm
    from azula.plugins.utils import load_cards

    config = dict(load_cards(adm.__name__)[benchmark.score.architecture].config)
    backbone = adm.make_model(**config, clip_mean=False).backbone.eval()
    side = config["image_size"]
    time, label = torch.zeros(1), torch.zeros(1, dtype=torch.long)
    return _flops(lambda x: backbone(x, time, y=label), (3, side, side))
