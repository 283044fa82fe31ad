"""CIFAR, ImageNet and foolbox's pictures in their publishers' layouts: read as they are, or refused in one line."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from publishers import write_cifar
from torchvision import datasets, transforms

from pagbench import data
from pagbench.data import base, imagenet
from pagbench.data.cifar import CifarCard
from pagbench.data.dataset import ImageFiles
from pagbench.data.imagenet import ImageNetCard
from pagbench.errors import DataError


@pytest.mark.parametrize("kind", ["cifar10", "cifar100"])
def test_cifar_is_read_as_published_training_images_first(monkeypatch, tmp_path, kind):
    pixels, labels = write_cifar(monkeypatch, tmp_path, kind)
    found = data.load(CifarCard(kind=kind))
    assert found.images.dtype == torch.float32
    np.testing.assert_array_equal(np.rint(found.images.numpy() * 255), pixels)
    assert found.labels.tolist() == labels
    assert found.ids == tuple(map(str, range(len(labels))))


def test_altered_cifar_is_refused_before_it_is_unpickled(monkeypatch, tmp_path):
    write_cifar(monkeypatch, tmp_path)

    class Code:
        def __reduce__(self):
            return pytest.fail, ("code in the file was run",)

    altered = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    altered.write_bytes(pickle.dumps(Code()))
    with pytest.raises(DataError, match=r"data_batch_3: md5 \w{32}, the publisher's is \w{32}; delete .* to fetch"):
        data.load(CifarCard(kind="cifar10"))
    altered.unlink()
    with pytest.raises(DataError, match="data_batch_3: cannot be read"):
        data.load(CifarCard(kind="cifar10"))


def test_missing_cifar_is_not_downloaded_offline(monkeypatch, tmp_path):
    def download(self):
        pytest.fail("a download was started")

    monkeypatch.setattr(datasets.CIFAR100, "download", download)
    monkeypatch.setenv("PAGBENCH_DATA", str(tmp_path))
    monkeypatch.setenv("PAGBENCH_OFFLINE", "1")
    with pytest.raises(
        DataError, match=r"--offline \(or PAGBENCH_OFFLINE\) allows no download; unpack cifar-100-python\.tar\.gz"
    ) as caught:
        data.load(CifarCard(kind="cifar100"))
    assert "\n" not in str(caught.value)


def test_missing_cifar_is_downloaded_by_torchvision(monkeypatch, tmp_path):
    def download(self):
        raise OSError("no route to host\nat all")

    monkeypatch.setattr(datasets.CIFAR10, "download", download)
    monkeypatch.setenv("PAGBENCH_DATA", str(tmp_path))
    monkeypatch.delenv("PAGBENCH_OFFLINE", raising=False)
    with pytest.raises(DataError, match=r"the download failed \(no route to host\); unpack cifar-10-python.tar.gz"):
        data.load(CifarCard(kind="cifar10"))


def test_data_lies_in_the_cache_folder_by_default(monkeypatch, tmp_path):
    monkeypatch.delenv("PAGBENCH_DATA", raising=False)
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path))
    assert base.root() == tmp_path / "data"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Validation images of ImageNet's form: 1,000 class folders, three pictures in them, one of them grey."""
    folder = tmp_path_factory.mktemp("data")
    home = folder / "imagenet" / "val"
    for index in range(1000):
        (home / f"n{2 * index:08d}").mkdir(parents=True)
    rng = np.random.default_rng(0)
    shapes = {
        "00000001": ("n00000010", (40, 300, 3)),
        "00000007": ("n00000000", (300, 260)),
        "00050000": ("n00001998", (513, 700, 3)),
    }
    for number, (name, shape) in shapes.items():
        Image.fromarray(rng.integers(256, size=shape, dtype=np.uint8)).save(
            home / name / f"ILSVRC2012_val_{number}.JPEG"
        )
    (home / "n00000010" / "notes.txt").write_text("not a picture")
    return folder


CARD = ImageNetCard(kind="imagenet", preparation="resize-256-crop-224")


def test_imagenet_is_found_by_number_and_labelled_by_folder(monkeypatch, pictures):
    monkeypatch.setenv("PAGBENCH_DATA", str(pictures))
    found = data.load(CARD)
    assert found.ids == ("1", "7", "50000")
    assert found.labels.tolist() == [5, 0, 999]
    by_torchvision = datasets.ImageFolder(pictures / "imagenet" / "val", allow_empty=True)
    assert sorted(label for _, label in by_torchvision.samples) == sorted(found.labels.tolist())


def test_imagenet_is_prepared_as_torchvision_does(monkeypatch, pictures):
    monkeypatch.setenv("PAGBENCH_DATA", str(pictures))
    found = data.load(CARD)
    steps = [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()]
    for path, image in zip(found.pixels.paths, found.images, strict=True):
        with Image.open(path) as picture:
            torch.testing.assert_close(transforms.Compose(steps)(picture.convert("RGB")), image, rtol=0, atol=0)
    grey = found.select(["7"]).images[0]
    assert torch.equal(grey[0], grey[1])


def test_imagenet_64_is_averaged_down_before_the_last_bicubic_step():
    """Of a picture of 256×512 both halvings are 2×2 averages, to rounding, and the last step changes nothing."""
    raw = np.random.default_rng(0).integers(256, size=(256, 512, 3), dtype=np.uint8)
    halved = raw.astype(float)
    for _ in range(2):
        halved = halved.reshape(halved.shape[0] // 2, 2, halved.shape[1] // 2, 2, 3).mean(axis=(1, 3))
    found = imagenet.crop_64(Image.fromarray(raw))
    assert found.shape == (3, 64, 64)
    np.testing.assert_allclose(found.permute(1, 2, 0) * 255, halved[:, 32:96], atol=2)
    assert imagenet.crop_64(Image.fromarray(raw[:50, :70])).shape == (3, 64, 64)


@pytest.mark.parametrize("width", [64, 65, 66, 67, 69])
def test_imagenet_64_is_cropped_as_adms_training_images_were(width):
    """Half a pixel is rounded down (`center_crop_arr` of openai/guided-diffusion)."""
    raw = np.random.default_rng(0).integers(256, size=(64, width, 3), dtype=np.uint8)
    left = (width - 64) // 2
    found = (imagenet.crop_64(Image.fromarray(raw)) * 255).round().byte().permute(1, 2, 0)
    np.testing.assert_array_equal(found.numpy(), raw[:, left : left + 64])


def test_pictures_are_read_only_when_they_are_looked_at(monkeypatch, pictures):
    monkeypatch.setenv("PAGBENCH_DATA", str(pictures))
    read = []
    monkeypatch.setattr(ImageFiles, "_read", lambda self, path: read.append(path) or torch.zeros(3, 224, 224))
    found = data.load(CARD)
    part = found.without(["1"]).select(["50000", "7"])
    chunks = list(part.chunks(1))
    assert read == []
    assert chunks[1].images.shape == (1, 3, 224, 224)
    assert [path.stem for path in read] == ["ILSVRC2012_val_00000007"]
    assert chunks[1].images is chunks[1].images
    assert len(read) == 1


def test_what_is_wrong_with_imagenet_is_one_clear_line(monkeypatch, pictures, tmp_path):
    monkeypatch.setenv("PAGBENCH_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"val: 0 class folders, expected 1,000; .* put or link"):
        data.load(CARD)
    home = tmp_path / "imagenet" / "val"
    for name in ("n00000000", "n00000002"):
        (home / name).mkdir(parents=True)
    with pytest.raises(DataError, match="2 class folders"):
        data.load(CARD)
    broken = ImageFiles((home / "n00000000" / "ILSVRC2012_val_00000003.JPEG",), imagenet.crop_224)
    broken.paths[0].write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match=r"00000003\.JPEG: not a readable picture") as caught:
        broken.load()
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("PAGBENCH_DATA", str(pictures))
    found = data.load(CARD)
    with pytest.raises(DataError, match="sample id '2' is not among the 3"):
        found.select(["2"])
    with pytest.raises(DataError, match="no such split"):
        found.select([]).images  # noqa: B018
