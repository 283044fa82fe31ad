"""Writes the folder of a submission from answers. No torch."""

import shutil
from pathlib import Path
from typing import Any

import yaml

from pagbench import benchmarks
from pagbench.cards import ModelCard
from pagbench.errors import CardError, ResultsError
from pagbench.storage import files
from pagbench.storage.files import sha256_of
from pagbench.submissions import limits
from pagbench.submissions.folder import CARD
from pagbench.submissions.questions import Answers


def draft(root: Path, answers: Answers) -> Path:
    """Writes `model.yaml`, and the weights beside it where no link is given.

    Args:
        root: the folder, made where it is missing.
        answers: a value for each of `questions.QUESTIONS`.

    Returns:
        The card's path.

    Raises:
        CardError: the folder has a card already, the answers do not make one, or the weights are too large to go
            without a link.
        ResultsError: the disk refuses.
    """
    card = root / CARD
    if card.exists():
        raise CardError(f"{card}: is there already; edit it, or give another folder")
    weights: Path = answers["weights"]
    fields = _fields(answers)
    ModelCard.parse(fields, "the answers")
    if "weights" in fields:
        if weights.stat().st_size > limits.WEIGHTS_BESIDE:
            raise CardError(
                f"{weights}: more than {limits.WEIGHTS_BESIDE // 2**20} MiB; publish it elsewhere and give its --link"
            )
        target = root / weights.name
        if not target.exists() or not target.samefile(weights):
            with files.replacing(target, ResultsError) as temporary:
                shutil.copyfile(weights, temporary)
    text = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=110)
    return files.write(card, text)


def _fields(answers: Answers) -> dict[str, Any]:
    benchmark = benchmarks.load(answers["benchmark"])
    weights: Path = answers["weights"]
    sha256 = sha256_of(weights)
    own = "/" not in answers["architecture"]
    fields = {
        "id": answers["id"],
        "title": answers["title"],
        "family": answers["family"],
        "strength": answers["strength"],
        "dataset": benchmark.data_name,
        "architecture": answers["architecture"],
        "activation": answers["activation"] if own else None,
        "input_shape": list(benchmark.input_shape),
        "classes": benchmark.classes,
        "output": answers["output"],
        "mean": None if answers["mean"] is None else list(answers["mean"]),
        "std": None if answers["std"] is None else list(answers["std"]),
        "authors": answers["authors"],
        "license": answers["license"],
        "reference": answers["reference"],
        "trained_on_target": answers["trained_on_target"],
    }
    if answers["link"] is None:
        fields |= {"weights": weights.name, "weights_sha256": sha256}
    else:
        path = f"{answers['id']}/{weights.name}"
        size = weights.stat().st_size
        fields["download"] = [{"path": path, "mirrors": [answers["link"]], "sha256": sha256, "size": size}]
    return {name: value for name, value in fields.items() if value is not None}
