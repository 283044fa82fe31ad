"""Data sets in their publishers' formats, with random content."""

import hashlib
import pickle

import numpy as np
from torchvision import datasets


def write_cifar(monkeypatch, folder, kind="cifar10", per_batch=4):
    """Random images in the publisher's pickles, and torchvision's class with their md5 sums; pixels and labels."""
    rng = np.random.default_rng(0)
    ten = kind == "cifar10"
    base = datasets.CIFAR10 if ten else datasets.CIFAR100
    names = [name for name, _ in (*base.train_list, *base.test_list)]
    place = folder / base.base_folder
    place.mkdir(parents=True)
    pixels, labels, sums = [], [], {}
    for name in names:
        raw = rng.integers(256, size=(per_batch, 3072), dtype=np.uint8)
        classes = rng.integers(10 if ten else 100, size=per_batch).tolist()
        key = "labels" if ten else "fine_labels"
        content = pickle.dumps({"data": raw, key: classes} | ({} if ten else {"coarse_labels": [0] * per_batch}))
        (place / name).write_bytes(content)
        sums[name] = hashlib.md5(content).hexdigest()
        pixels.append(raw.reshape(-1, 3, 32, 32))
        labels += classes
    meta = pickle.dumps({base.meta["key"]: list(map(str, range(10)))})
    (place / base.meta["filename"]).write_bytes(meta)

    published = {
        "train_list": [[name, sums[name]] for name, _ in base.train_list],
        "test_list": [[name, sums[name]] for name, _ in base.test_list],
        "meta": {**base.meta, "md5": hashlib.md5(meta).hexdigest()},
    }
    monkeypatch.setenv("PAGBENCH_DATA", str(folder))
    monkeypatch.setattr(datasets, base.__name__, type(base.__name__, (base,), published))
    return np.concatenate(pixels), labels
