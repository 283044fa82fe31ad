"""A small submission that keeps every rule, for tests to break."""

import hashlib
import shutil

import yaml

from pagbench import models

ID = "digits/newcomer"


def fields(root):
    return yaml.safe_load((root / "model.yaml").read_text(encoding="utf-8"))


def change(root, **changed):
    """Sets fields of the card; None removes one."""
    content = {name: value for name, value in (fields(root) | changed).items() if value is not None}
    (root / "model.yaml").write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")


def weigh(root, name, content):
    """Puts weights there, and their hash on the card."""
    (root / name).write_bytes(content)
    change(root, weights=name, weights_sha256=hashlib.sha256(content).hexdigest())


def make(root, **changed):
    """A folder with the weights of a shipped network under another name."""
    request = models.find("digits/noise-0.6")
    card, path = request.card, request.path
    root.mkdir(parents=True)
    shutil.copyfile(path.parent / card.weights, root / "newcomer.safetensors")
    kept = {"family", "strength", "dataset", "architecture", "activation", "input_shape", "classes", "weights_sha256"}
    content = card.model_dump(mode="json", include=kept) | {
        "id": ID, "title": "A newcomer", "weights": "newcomer.safetensors", "authors": "A. Newcomer", "license": "MIT",
        "reference": "https://example.org/newcomer", "trained_on": "train",
    }  # fmt: skip
    (root / "model.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    change(root, **changed)
    return root
