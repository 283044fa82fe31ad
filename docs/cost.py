"""What RobustBench's zoo costs on the image benchmarks: counts per model and image, and a page that adds them up.

    python docs/cost.py models [IDS]    # floating-point operations of each model's passes -> models.csv
    python docs/cost.py units           # passes and bytes per image of each benchmark -> units.csv
    python docs/cost.py speed           # seconds per TFLOP of a few models on this machine -> docs/cost-speed.csv
    python docs/cost.py page            # these three -> docs/reference/cost.md
    python docs/cost.py total --tflops 25   # the page's totals for another throughput, in the terminal

The first two tables lie in `pagbench/benchmarks/cost`. No weights and no data set are needed. Models that the file has
already are skipped.
"""

import argparse
import csv
import multiprocessing
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pagbench import benchmarks
from pagbench.benchmarks import cost
from pagbench.errors import PagbenchError, first_line
from pagbench.models.classifier import Classifier
from pagbench.models.sources import robustbench

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import cost_page  # noqa: E402  (beside this file, which tests load by its path)
import cost_units  # noqa: E402

TIMED = (
    "cifar10/Linf/Sehwag2021Proxy_R18",
    "cifar10/L2/Engstrom2019Robustness",
    "cifar10/Linf/Wang2023Better_WRN-28-10",
    "cifar10/Linf/Debenedetti2022Light_XCiT-S12",
    "imagenet/Linf/Salman2020Do_R50",
    "imagenet/Linf/Liu2023Comprehensive_ConvNeXt-B",
    "imagenet/Linf/Liu2023Comprehensive_Swin-B",
)
_PATIENCE = 900.0


def count(name: str) -> dict[str, Any]:
    """Operations of one image's forward and backward pass through a model, and the bytes that it keeps between them.

    Two for each multiplication with addition, of convolutions and matrix products alone, as PyTorch's counter counts.
    On the meta device, which has shapes and no values; on the CPU where the model looks at values.
    """
    found: dict[str, Any] = {"id": name}
    for where, build in (("meta", "meta"), ("meta", "cpu"), ("cpu", "cpu")):
        try:
            classifier = _classifier(name, build)
            found["parameters"] = sum(parameter.numel() for parameter in classifier.parameters())
            return found | _passes(classifier.to(where), _shape(name), where) | {"where": where}
        except (PagbenchError, RuntimeError, NotImplementedError, TypeError, ValueError) as error:
            found["where"] = f"not counted: {first_line(error)}"[:160]
    return found


def _shape(name: str) -> tuple[int, int, int]:
    return benchmarks.load(name.partition("/")[0]).input_shape


def _classifier(name: str, device: str) -> Classifier:
    """The model with random weights, as pagbench loads it."""
    from pagbench.models.sources.robustbench import zoo

    card = robustbench.card(f"robustbench/{name}")
    torch.manual_seed(0)
    with torch.device(device), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = zoo.untrained(card)
    size = card.input_shape[1:] if card.resize and card.input_shape else None
    return Classifier(network.float(), output=card.output, size=size)


def _passes(classifier: nn.Module, shape: tuple[int, ...], device: str) -> dict[str, int]:
    x = torch.rand(1, *shape).to(device).requires_grad_(True)
    with sdpa_kernel(SDPBackend.MATH):  # of fused attention the counter sees nothing on some devices
        with FlopCounterMode(display=False) as forward:
            out = classifier(x)
        with FlopCounterMode(display=False) as backward:
            out.sum().backward()
        saved = _saved(classifier, torch.cat([x, x])) - _saved(classifier, x)
    return {"forward": forward.get_total_flops(), "backward": backward.get_total_flops(), "saved": saved}


def _saved(classifier: nn.Module, x: Tensor) -> int:
    """Bytes that autograd keeps for the backward pass, but for the network's own tensors."""
    own = {tensor.untyped_storage()._cdata for tensor in (*classifier.parameters(), *classifier.buffers())}
    kept: dict[int, Any] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = classifier(x.detach().requires_grad_(True))  # held, and with it what is kept
    del out
    return sum(storage.nbytes() for storage in kept.values())


def count_all(wanted: list[str]) -> None:
    """Counts in processes of their own, for some models need much memory or never end; adds a line for each."""
    from pagbench.models.sources.robustbench import zoo

    zoo.robustbench()  # imported once, for all processes that are forked
    done = {row["id"] for row in cost.read(cost.MODELS)}
    every = [name.removeprefix("robustbench/") for name in robustbench.names()]
    fork = multiprocessing.get_context("fork")
    for name in [name for name in wanted or every if name not in done]:
        process = fork.Process(target=_add, args=(name,))
        process.start()
        process.join(_PATIENCE)
        if process.is_alive() or process.exitcode:
            why = f"not done in {_PATIENCE:.0f} s" if process.is_alive() else f"ended with {process.exitcode}"
            process.kill()
            process.join()
            _write(cost.MODELS, [{"id": name, "where": f"not counted: {why}"}], append=True)
    rows = {row["id"]: row for row in cost.read(cost.MODELS)}
    _write(cost.MODELS, [rows[name] for name in every if name in rows])


def _add(name: str) -> None:
    torch.set_num_threads(1)
    _write(cost.MODELS, [count(name)], append=True)


def speed(names: tuple[str, ...] = TIMED, images: int = 4, repeats: int = 3) -> list[dict[str, Any]]:
    """Seconds of one CPU thread per TFLOP of a forward and a backward pass; the fastest of a few repetitions."""
    counts = {row["id"]: row for row in cost.read(cost.MODELS)}
    torch.set_num_threads(1)
    found = []
    for name in names:
        classifier, x = _classifier(name, "cpu"), torch.rand(images, *_shape(name))
        seconds = min(_seconds(classifier, x) for _ in range(repeats + 1))
        work = images * (int(counts[name]["forward"]) + int(counts[name]["backward"])) / 1e12
        found.append({"id": name, "images": images, "seconds_per_tflop": round(seconds / work, 1)})
    return found


def _seconds(classifier: nn.Module, x: Tensor) -> float:
    pixels = x.clone().requires_grad_(True)
    started = time.process_time()
    classifier(pixels).sum().backward()
    return time.process_time() - started


def _write(path: Path, rows: list[dict[str, Any]], append: bool = False) -> None:
    names = {cost.MODELS: cost.MODEL_COLUMNS, cost.UNITS: cost_units.COLUMNS}
    columns = names.get(path, list(rows[0]))
    header = not (append and path.exists())
    with path.open("a" if append else "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """The commands of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("models", "units", "speed", "page", "total"))
    parser.add_argument("ids", nargs="*", help="models, as cifar10/L2/Standard; all by default")
    parser.add_argument("--tflops", type=float, default=cost.TFLOPS, help="sustained, in float32, per GPU")
    asked = parser.parse_args()
    if asked.what == "models":
        count_all(asked.ids)
    elif asked.what == "units":
        _write(cost.UNITS, [cost_units.of(label) for label in cost.LABELS])
    elif asked.what == "speed":
        _write(cost_page.SPEED, speed())
    elif asked.what == "page":
        cost_page.PAGE.write_text(cost_page.page(), encoding="utf-8")
    else:
        sys.stdout.write(cost_page.totals(asked.tflops) + "\n")


if __name__ == "__main__":
    main()
