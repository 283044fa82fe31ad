"""What is known of RobustBench's models: their index, and a page on how each of them does.

    python docs/zoo.py index            # the installed release's zoo -> pagbench/models/sources/robustbench/index.json
    python docs/zoo.py probe [IDS]      # builds each with random weights in a process of its own -> robustbench.jsonl
    python docs/zoo.py page             # robustbench.jsonl -> docs/reference/robustbench.md

A probe is added as soon as it is done, and ids that the file already has are skipped.
"""

import json
import multiprocessing
import re
import resource
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from pagbench.errors import PagbenchError
from pagbench.models.sources import robustbench

HERE = Path(__file__).parent
INDEX = Path(robustbench.__file__).parent / "index.json"
PROBES = Path("robustbench.jsonl")
PAGE = HERE / "reference" / "robustbench.md"

OUTPUTS = {
    r"cifar10/Linf/Chen2020Adversarial|.*_CARD_Deck": "probabilities",
    r".*/Bai2023Improving.*|.*/Bai2024MixedNUTS": "log-probabilities",
}
"""What is not logits, found by probing."""

LICENSES = {
    r"cifar10/Linf/(Hendrycks2019Using|Pang2020Boosting)": "Apache-2.0",
    r"cifar.*/(Gowal2020Uncovering|Rebuffi2021Fixing|Gowal2021Improving).*": "Apache-2.0",
    r"cifar10/L.*/Ding2020MMA": "CC-BY-NC-SA-4.0",
    r"cifar10/L2/Rony2019Decoupling": "BSD-3-Clause",
    r"imagenet/corruptions/AlexNet|imagenet/.*/Standard_R50": "BSD-3-Clause",
}
"""The release's LICENSE: MIT but for these; the last two are torchvision's."""


_INTRODUCTION = """\
pagbench runs the models of RobustBench's release 1.1.1. `pagbench list models --source robustbench` lists their ids,
with architecture, clean accuracy and paper.

```
pip install 'pagbench[robustbench]'
pagbench run robustbench/cifar10/L2/Engstrom2019Robustness --benchmark cifar10
```

Each network was built with random weights and tried on two random images by the contract that every model keeps: one
finite value for each class, the same in two calls, differentiable in the pixels. This says nothing of trained weights:
`pagbench check` does. `docs/zoo.py` writes this page. Each model's parameters are in
[models.csv](../../pagbench/benchmarks/cost/models.csv), and [what the zoo costs](cost.md) adds them up."""


_GRADIENTS = """\
## What to know of their gradients

- `Bai2024MixedNUTS` puts a steep softmax in the place of an arg max where gradients are recorded.
- `Amini2024MeanSparse` sets features near their mean to it. There its gradient is zero.
- `Kang2021Stable` integrates an ordinary differential equation.

## Downloads

Google Drive refuses some files for a day when many ask for them. `pagbench fetch` then says where to put one by hand.
Files in RobustBench's own `./models` are found."""


def index() -> dict[str, dict[str, Any]]:
    """The index of the installed release."""
    from pagbench.models.sources.robustbench.zoo import robustbench as imported

    published = _published()
    return {
        f"{data.value}/{threat.value}/{name}": {
            **published[data.value, threat.value, name],
            **_entry(f"{data.value}/{threat.value}/{name}", entry),
        }
        for data, kinds in imported().all_models.items()
        for threat, models in kinds.items()
        for name, entry in models.items()
    }


def _published() -> dict[tuple[str, str, str], dict[str, Any]]:
    """Rows of the README's tables, by data set, threat and name; the README is the wheel's description."""
    found, dataset, threat = {}, "", ""
    for line in str(metadata.metadata("robustbench").get_payload()).splitlines():
        heading, _, text = line.partition(" ")
        if heading == "###":
            dataset = text.strip().lower().replace("-", "")
        elif heading == "####":
            threat = "corruptions" if "Corruptions" in text else text.partition(",")[0].strip()
        elif line.startswith("| <sub>**"):
            cells = [re.sub(r"<[^>]*>|\*\*", "", cell).strip() for cell in line.strip("| ").split("|")]
            paper = re.fullmatch(r"\*\[(.*)\]\((.*)\)\*", cells[2])
            assert paper is not None, line
            found[dataset, threat, cells[1]] = {
                "architecture": re.sub(r"[^\w.+]+", "-", cells[-2].replace(" + ", "+")).strip("-"),
                "accuracy": round(float(cells[3].rstrip("%")) / 100, 6),
                "robust_accuracy": round(float(cells[4].rstrip("%")) / 100, 6),
                "paper": paper[1],
                "reference": ", ".join(part for part in (cells[-1], paper[2]) if part != "N/A"),
            }
    return found


def _entry(key: str, entry: dict[str, Any]) -> dict[str, Any]:
    """What the zoo's entry says, and what is not logits or MIT."""
    drive = entry["gdrive_id"]
    registered = _registered(key)
    if registered is not None:
        files = [registered["url"]]
        preprocessing = _of_timm(registered) if key.startswith("imagenet/") else None
    else:
        files = [f"gdrive:{one}" for one in (drive if isinstance(drive, list) else [drive])] if drive else [_resnet50()]
        preprocessing = entry.get("preprocessing")
    output = next((name for pattern, name in OUTPUTS.items() if re.fullmatch(pattern, key)), None)
    license_ = next((name for pattern, name in LICENSES.items() if re.fullmatch(pattern, key)), "MIT")
    known = {"files": files, "preprocessing": preprocessing, "output": output, "license": license_}
    return {name: value for name, value in known.items() if value is not None}


def _registered(key: str) -> dict[str, Any] | None:
    """The timm configuration of a network that RobustBench has registered there, and then takes from there."""
    import timm

    dataset, threat, name = key.split("/")
    registered = f"{name.lower().replace('-', '_')}_{dataset}_{threat.lower()}"
    return timm.get_pretrained_cfg(registered).to_dict() if timm.is_model(registered) else None


def _of_timm(config: dict[str, Any]) -> str:
    """Preprocessing in RobustBench's words."""
    side = config["input_size"][-1]
    return f"{config['interpolation'].capitalize()}Res{int(side / config['crop_pct'])}Crop{side}"


def _resnet50() -> str:
    import torchvision

    return str(torchvision.models.ResNet50_Weights.IMAGENET1K_V1.url)


def probe(model: str) -> dict[str, Any]:
    """Builds a model with random weights and tries it on two random images."""
    import torch

    from pagbench.models.classifier import Classifier, check_contract
    from pagbench.models.sources.robustbench import zoo

    start = time.perf_counter()
    card = robustbench.card(model)
    torch.manual_seed(0)
    assert card.input_shape is not None and card.classes is not None
    found: dict[str, Any] = {"id": model}
    try:
        network = zoo.untrained(card)
        found["parameters"] = sum(parameter.numel() for parameter in network.parameters())
        images = torch.rand(2, *card.input_shape)
        found["output"] = _kind(network, images)
        classifier = Classifier(network, output=card.output)
        check_contract(classifier, images, card.classes, model)
        found["result"] = "passes" + _gradient(classifier, images)
    except PagbenchError as error:
        found["result"] = str(error).removeprefix(f"{model}: ")
    return found | {"seconds": round(time.perf_counter() - start, 1), "gib": _peak()}


def _kind(network: Any, images: Any) -> str:
    """What a network returns."""
    import torch

    with torch.no_grad():
        out = network(images)
    for name, probabilities in (("probabilities", out), ("log-probabilities", out.exp())):
        if ((probabilities >= 0).all() and (probabilities.sum(1) - 1).abs().max() < 1e-4).item():
            return name
    return "logits"


def _gradient(classifier: Any, images: Any) -> str:
    """Remarks on the gradient of the largest logit."""
    pixels = images.clone().requires_grad_(True)
    classifier(pixels).amax(1).sum().backward()
    gradient = pixels.grad.flatten(1)
    if not gradient.isfinite().all():
        return "; gradient not finite"
    return "; gradient zero" if (gradient.norm(dim=1) == 0).any() else ""


def _peak() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 1)


def probe_all(wanted: list[str], limit: float) -> None:
    """Probes in processes of their own; one line per model, as soon as it is there."""
    import torch

    from pagbench.models.sources.robustbench import zoo

    zoo.robustbench()  # imported once, for all processes that are forked
    torch.set_num_threads(1)
    done = {row["id"] for row in _rows()} if PROBES.exists() else set()
    fork = multiprocessing.get_context("fork")
    for model in [name for name in wanted or robustbench.names() if name not in done]:
        process = fork.Process(target=_write_probe, args=(model,))
        process.start()
        process.join(limit)
        if process.is_alive():
            process.kill()
            process.join()
            _write({"id": model, "result": f"not done in {limit:.0f} s"})
        elif process.exitcode:
            _write({"id": model, "result": f"ended with {process.exitcode}, out of memory or crashed"})


def _write_probe(model: str) -> None:
    _write(probe(model))


def _write(row: dict[str, Any]) -> None:
    with PROBES.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def _rows() -> Iterator[dict[str, Any]]:
    with PROBES.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def page() -> str:
    """The page, from the probes."""
    rows = {row["id"]: row for row in _rows()}
    listed = [rows.get(model, {"id": model, "result": "not tried"}) for model in robustbench.names()]
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in listed:
        groups.setdefault(" ".join(row["id"].split("/")[1:3]), []).append(row)
    failed = [f"- `{row['id']}`: {row['result']}" for row in listed if row["result"] != "passes"]
    lines = [
        "# RobustBench's models",
        "",
        f"{_INTRODUCTION}",
        "",
        f"{len(listed) - len(failed)} of {len(listed)} pass.",
        *failed,
        "",
        "| data set, threat | models | parameters | not logits |",
        "|---|---:|---:|---|",
        *(_group(name, group) for name, group in groups.items()),
        "",
        _GRADIENTS,
    ]
    return "\n".join(lines) + "\n"


def _group(name: str, rows: list[dict[str, Any]]) -> str:
    sizes = sorted(row["parameters"] / 1e6 for row in rows if "parameters" in row)
    others = (
        f"{row['id'].rpartition('/')[2]}: {row['output']}" for row in rows if row.get("output", "logits") != "logits"
    )
    return f"| {name} | {len(rows)} | {sizes[0]:.1f} to {sizes[-1]:.1f} M | {', '.join(others)} |"


if __name__ == "__main__":
    what, names = sys.argv[1], sys.argv[2:]
    if what == "index":
        lines = (f"{json.dumps(name)}: {json.dumps(entry, ensure_ascii=False)}" for name, entry in index().items())
        INDEX.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    elif what == "probe":
        probe_all(names, limit=600)
    elif what == "page":
        PAGE.write_text(page(), encoding="utf-8")
