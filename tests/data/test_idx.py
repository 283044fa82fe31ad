"""MNIST and Fashion-MNIST files: read whole and as published, or refused in one line that names the file."""

import gzip
import hashlib
import struct
from typing import ClassVar

import numpy as np
import pytest

from pagbench import benchmarks
from pagbench.data import base, idx
from pagbench.data.idx import IdxCard
from pagbench.errors import DataError

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def packed(array):
    """An array of bytes as an IDX file."""
    return struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()


def arrays(train=5, test=3):
    rng = np.random.default_rng(0)
    parts = {TRAIN_IMAGES: (train, 28, 28), TRAIN_LABELS: (train,), TEST_IMAGES: (test, 28, 28), TEST_LABELS: (test,)}
    return {
        name: rng.integers(256 if len(shape) > 1 else 10, size=shape, dtype=np.uint8) for name, shape in parts.items()
    }


def sha256(files):
    return hashlib.sha256(b"".join(files[name] for name in NAMES)).hexdigest()


def card_of(files):
    return IdxCard(kind="fashion-mnist", sha256=sha256(files))


def publish(monkeypatch, kind, files, download=None):
    """Puts a class in place of torchvision's, which would ask the network."""

    class Publisher:
        resources: ClassVar = [
            (f"{name}.gz", hashlib.md5(gzip.compress(files[name], mtime=0)).hexdigest()) for name in NAMES
        ]

        def __init__(self, root, *, download):
            assert download
            downloads(root)

    def downloads(root):
        if download is None:
            pytest.fail("a download was started")
        download(root)

    monkeypatch.setattr(f"torchvision.datasets.{kind}", Publisher)


def refusal(card):
    """The message with which a card's data is refused: one line."""
    with pytest.raises(DataError) as caught:
        card.load()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def files():
    return {name: packed(array) for name, array in arrays().items()}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes files as torchvision lays them out under an empty root, with no other place to find any."""
    monkeypatch.setenv("PAGBENCH_DATA", str(tmp_path))
    monkeypatch.setattr(idx, "_DEBIAN", tmp_path / "debian")

    def write_to(files, compressed=NAMES, kind="FashionMNIST"):
        folder = tmp_path / kind / "raw"
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            if name in compressed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
            else:
                (folder / name).write_bytes(content)
        return folder

    return write_to


@pytest.mark.parametrize("compressed", [NAMES, (), NAMES[:1]], ids=["gz", "plain", "mixed"])
def test_pixels_and_labels_are_those_of_the_files_training_images_first(files, write, compressed):
    write(files, compressed)
    images, labels, _ = card_of(files).load()
    raw = arrays()
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images[:5, 0] * 255, raw[TRAIN_IMAGES])
    np.testing.assert_array_equal(images[5:, 0] * 255, raw[TEST_IMAGES])
    assert labels.tolist() == [*raw[TRAIN_LABELS], *raw[TEST_LABELS]]


def test_an_intact_compressed_file_is_read_beside_a_damaged_plain_one(files, write):
    write(files)
    write({TRAIN_IMAGES: b"damaged"}, compressed=())
    assert len(card_of(files).load()[0]) == 8


def test_files_are_found_where_debian_puts_them(files, write, tmp_path):
    write(files).rename(tmp_path / "fashion-mnist")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(idx, "_DEBIAN", tmp_path)
        assert len(card_of(files).load()[0]) == 8


def test_the_root_folder_can_be_set(monkeypatch, tmp_path):
    monkeypatch.setenv("PAGBENCH_DATA", str(tmp_path))
    assert base.root() == tmp_path
    monkeypatch.setenv("PAGBENCH_DATA", "")
    assert base.root().parts[-3:] == (".cache", "pagbench", "data")


@pytest.mark.parametrize(
    ("kind", "name", "debian"), [("fashion-mnist", "FashionMNIST", True), ("mnist", "MNIST", False)]
)
def test_missing_files_that_cannot_be_downloaded_are_asked_for(files, write, monkeypatch, tmp_path, kind, name, debian):
    def fail(root):
        raise RuntimeError("no route to host\nand more")

    write({name: content for name, content in files.items() if name != TEST_LABELS}, kind=name)
    publish(monkeypatch, name, files, download=fail)
    message = refusal(IdxCard(kind=kind))
    assert message.startswith(f"{kind}: not in {tmp_path / name / 'raw'} and the download failed (no route to host)")
    assert "PAGBENCH_DATA" in message
    assert ("dataset-fashion-mnist" in message) == debian


def test_missing_files_are_downloaded_by_torchvision(files, write, monkeypatch, tmp_path):
    def fetch(root):
        assert root == tmp_path
        write(files)

    publish(monkeypatch, "FashionMNIST", files, download=fetch)
    assert len(card_of(files).load()[0]) == 8


def test_a_damaged_compressed_file_is_named(files, write):
    damaged = write(files) / f"{TEST_IMAGES}.gz"
    whole = damaged.read_bytes()
    flipped = bytes([*whole[:200], *(byte ^ 255 for byte in whole[200:210]), *whole[210:]])
    for content in (whole[: len(whole) // 2], whole[:5], whole[:-4], b"<html>not found</html>", flipped):
        damaged.write_bytes(content)
        assert refusal(card_of(files)).startswith(f"{damaged}: cannot be read (")
    damaged.write_bytes(b"")
    assert refusal(card_of(files)).startswith(f"{damaged}: not a whole IDX file")


@pytest.mark.parametrize("compressed", [NAMES, ()], ids=["gz", "plain"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        (TRAIN_IMAGES, packed(np.zeros(5 * 784, np.uint8))),
        (TRAIN_IMAGES, struct.pack(">4I", 0x803, 5, 28, 28) + bytes(5 * 784 - 1)),
        (TRAIN_IMAGES, struct.pack(">4I", 0x803, 6, 28, 28) + bytes(5 * 784)),
        (TRAIN_IMAGES, packed(np.zeros((5, 27, 28), np.uint8))),
        (TRAIN_IMAGES, packed(np.zeros((5, 56, 14), np.uint8))),
        (TEST_LABELS, packed(np.zeros((3, 1), np.uint8))),
        (TEST_LABELS, struct.pack(">2I", 0x801, 3) + bytes(4)),
        (TEST_LABELS, struct.pack("<2I", 0x801, 3) + bytes(3)),
        (TEST_LABELS, b"\0\0"),
        (TEST_LABELS, b""),
    ],
)
def test_what_is_no_whole_idx_file_is_named(files, write, compressed, name, content):
    published = card_of(files)
    files[name] = content
    folder = write(files, compressed)
    path = folder / (f"{name}.gz" if compressed else name)
    assert refusal(published) == refusal(card_of(files))
    assert refusal(card_of(files)).startswith(f"{path}: not a whole IDX file of")


def test_labels_of_another_number_than_images_are_named(files, write):
    files[TEST_LABELS] = packed(np.zeros(4, np.uint8))
    folder = write(files)
    message = refusal(card_of(files))
    assert message.startswith(f"{folder / TEST_LABELS}.gz: 4 labels, expected one for each of the 3 images")


def test_other_content_than_the_cards_is_refused(files, write):
    folder = write(files)
    expected = f"{folder}: sha256 {sha256(files)[:12]}… of the fashion-mnist files, expected 000000000000…"
    assert refusal(IdxCard(kind="fashion-mnist", sha256="0" * 64)).startswith(expected)


def test_without_a_hash_compressed_files_are_compared_with_the_publishers_sums(files, write, monkeypatch):
    folder = write(files, kind="MNIST")
    publish(monkeypatch, "MNIST", files)
    assert len(IdxCard(kind="mnist").load()[0]) == 8
    files[TRAIN_LABELS] = packed(np.zeros(5, np.uint8))
    write(files, kind="MNIST")
    assert refusal(IdxCard(kind="mnist")).startswith(f"{folder / TRAIN_LABELS}.gz: md5 ")


def test_without_a_hash_a_plain_file_alone_cannot_be_checked(files, write, monkeypatch):
    folder = write(files, compressed=NAMES[:2], kind="MNIST")
    publish(monkeypatch, "MNIST", files)
    assert refusal(IdxCard(kind="mnist")).startswith(f"{folder / TEST_IMAGES}: cannot be checked")


def test_fashion_mnist_is_the_published_one():
    card = benchmarks.load("fashion-distractor").dataset.source
    if (absent := card.missing()) is not None:
        pytest.skip(f"not installed: {absent}")
    images, labels, _ = card.load()
    assert images.shape == (70_000, 1, 28, 28)
    assert set(np.bincount(labels[:60_000]).tolist()) == {6000}
    assert set(np.bincount(labels[60_000:]).tolist()) == {1000}
    assert labels[:5].tolist() == [9, 0, 0, 3, 0]
