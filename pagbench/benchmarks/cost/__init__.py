"""What a run of each RobustBench model costs, added up from the tables of counts beside this file.

`docs/cost.py` counts: `models.csv` has the operations of each model's passes, `units.csv` the passes and bytes of each
benchmark. `docs/reference/cost.md` says what is in them and what is not.
"""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

MODELS, UNITS = (Path(__file__).parent / f"{name}.csv" for name in ("models", "units"))
LABELS = ("cifar10@2", "cifar100@2", "imagenet@1")
MODEL_COLUMNS = ("id", "parameters", "forward", "backward", "saved", "where")
TFLOPS = 25.0
"""An assumption: what one GPU sustains in float32, 10^12 operations a second."""

_BATCH = 64

Row = dict[str, str]


def read(path: Path) -> list[Row]:
    """Rows of a table; none where there is none yet."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@dataclass(frozen=True)
class Cost:
    """What one model costs on its benchmark.

    Attributes:
        id: data set, threat and name.
        forward: TFLOP of a forward pass of one image.
        operations: TFLOP of a whole run.
        others: TFLOP of these that LPIPS takes, of the model's gradients.
        weights: bytes, at four for each parameter.
        memory: bytes of a batch on the device: weights, and what autograd keeps.
        results: bytes of its Parquet file.
    """

    id: str
    forward: float
    operations: float
    others: float
    weights: int
    memory: int
    results: int


def hours(operations: float, tflops: float = TFLOPS) -> float:
    """Of so many TFLOP on one GPU that sustains so much."""
    return operations / tflops / 3600


def costs() -> list[Cost]:
    """Of every model that was counted, in the zoo's order."""
    units = {row["benchmark"].partition("@")[0]: row for row in read(UNITS)}
    return [_cost(row, units[row["id"].partition("/")[0]]) for row in read(MODELS) if row["forward"]]


@cache
def by_model() -> dict[str, Cost]:
    """The same by the ids of RobustBench's models here."""
    return {f"robustbench/{cost.id}": cost for cost in costs()}


def _cost(model: Row, unit: Row) -> Cost:
    images, calibration = int(unit["images"]), int(unit["calibration"])
    forward = images * float(unit["forward"]) + calibration * float(unit["forward_calibration"])
    backward = images * float(unit["backward"]) + float(unit["backward_once"])
    forward += float(unit["forward_once"])
    own = forward * int(model["forward"]) + backward * int(model["backward"])
    others = images * float(unit["lpips"]) * int(unit["lpips_flops"])
    weights = 4 * int(model["parameters"])
    return Cost(
        model["id"],
        int(model["forward"]) / 1e12,
        (own + others) / 1e12,
        others / 1e12,
        weights,
        weights + _BATCH * int(model["saved"]),
        round(images * float(unit["row_bytes"]) + int(unit["file_bytes"])),
    )


def targets(benchmark: str | None = None) -> float:
    """TFLOP of the networks behind the targets, each once for all models.

    Args:
        benchmark: its label; None for all benchmarks together.
    """
    units = [unit for unit in read(UNITS) if benchmark in (None, unit["benchmark"])]
    return sum(_of_targets(unit) for unit in units) / 1e12


def _of_targets(unit: Row) -> float:
    passes = (float(unit[f"{network}_target"]) * int(unit[f"{network}_flops"]) for network in ("lpips", "score"))
    return int(unit["images"]) * sum(passes)
