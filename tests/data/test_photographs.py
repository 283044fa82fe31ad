"""Patches of photographs: what is shared between splits, and what happens where a package's file is another one."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from pagbench import benchmarks, data
from pagbench.data import photographs
from pagbench.data.photographs import BLOCK, PARTS, PATCH, PHOTOGRAPHS, Patch, PhotographsCard
from pagbench.errors import DataError

SHA256 = benchmarks.load("photographs@1").dataset.sha256


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    return [photographs._picture(photograph) for photograph in PHOTOGRAPHS]


@pytest.fixture(scope="module")
def placed(pictures: list[np.ndarray]) -> list[Patch]:
    return photographs.patches(pictures)


@pytest.fixture(scope="module")
def splits() -> data.Splits:
    return data.splits(benchmarks.load("photographs@1"))


def test_no_pixel_is_shared_between_splits(pictures: list[np.ndarray], placed: list[Patch]) -> None:
    owner = [np.zeros(picture.shape[:2], dtype=int) for picture in pictures]
    for number, split in enumerate(PARTS, start=1):
        for patch in (p for p in placed if p.split == split):
            pixels = owner[patch.photograph][patch.row : patch.row + PATCH, patch.column : patch.column + PATCH]
            assert set(np.unique(pixels)) <= {0, number}
            pixels[:] = number
    assert all(set(np.unique(pixels)) == {0, 1, 2, 3} for pixels in owner)


def test_a_patch_lies_in_one_block(placed: list[Patch]) -> None:
    assert all(patch.row % BLOCK <= BLOCK - PATCH and patch.column % BLOCK <= BLOCK - PATCH for patch in placed)
    assert len(set(placed)) == len(placed)


def test_every_split_is_balanced_and_takes_turns(splits: data.Splits) -> None:
    for part, count in ((splits.train, PARTS["training"]), (splits.calibration, 36), (splits.test, 92)):
        assert part.labels.tolist() == list(range(len(PHOTOGRAPHS))) * count


def test_the_card_states_the_size(splits: data.Splits) -> None:
    loaded = benchmarks.load("photographs@1").dataset.load()
    assert loaded.pixels.shape == (sum(size for _, size in PhotographsCard.model_construct().parts), 3, 32, 32)
    assert str(len(loaded.pixels)) in str(PhotographsCard.load.__doc__)


def _unit(images: Tensor) -> Tensor:
    centred = (images - 0.5).flatten(1)
    return centred / centred.norm(dim=1, keepdim=True)


def test_no_measured_patch_resembles_one_of_another_split_or_another_measured_one(splits: data.Splits) -> None:
    test, others = _unit(splits.test.images), torch.cat([splits.train.images, splits.calibration.images])
    assert (test @ _unit(others).T).max() < 0.9
    assert (test @ test.T - 2 * torch.eye(len(test))).max() < 0.9
    assert (_unit(splits.calibration.images) @ _unit(splits.train.images).T).max() < 0.9


def test_the_description_counts_the_patches_that_overlap(placed: list[Patch]) -> None:
    definition = benchmarks.load("photographs@1")
    chosen = np.array([placed[int(name)][1:] for name in definition.samples])
    near = (np.abs(chosen[:, None] - chosen) < [1, PATCH, PATCH]).all(2) & ~np.eye(len(chosen), dtype=bool)
    assert f"{near.any(1).sum()} of the {len(chosen):,}" in definition.description


def test_mean_colour_and_contrast_are_taken_out(splits: data.Splits) -> None:
    """All but what clipping to [0, 1] brings back, in patches of a few bright stars."""
    images = splits.test.images
    colours, contrasts = (images.mean((2, 3)) - 0.5).abs(), (images.flatten(1).std(1) - 0.2).abs()
    assert colours.max() < 0.05
    assert colours.median() < 0.002
    assert contrasts.median() < 0.01


def _card() -> PhotographsCard:
    return PhotographsCard(kind="photographs", sha256=SHA256)


def _replaced(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Puts the file in the place of the rocket's."""
    real = photographs._installed
    monkeypatch.setattr(photographs, "_installed", lambda p: path if p.path == "rocket.jpg" else real(p))


def test_a_changed_photograph_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "rocket.jpg"
    Image.new("RGB", (640, 427)).save(other)
    digest = hashlib.sha256(other.read_bytes()).hexdigest()
    _replaced(monkeypatch, other)
    with pytest.raises(DataError) as error:
        _card().load()
    assert str(error.value).startswith(
        f"{other}: sha256 {digest[:12]}…, expected c2dd0de7c538…; reinstall scikit-image"
    )
    assert "\n" not in str(error.value)


def test_a_missing_photograph_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _replaced(monkeypatch, tmp_path / "rocket.jpg")
    with pytest.raises(DataError, match=r"rocket\.jpg: cannot be read \(.*\); reinstall scikit-image$"):
        _card().load()


def test_other_pixels_of_the_same_files_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    real = photographs._picture
    monkeypatch.setattr(photographs, "_picture", lambda p: real(p) // 2 * 2)
    with pytest.raises(DataError, match=r"^photographs: sha256 .{12}… of the patches, expected .*pillow$"):
        _card().load()


def test_every_photograph_has_an_author_and_a_license() -> None:
    sources = PhotographsCard.model_construct().facts.sources
    assert len(sources) == len(PHOTOGRAPHS) == benchmarks.load("photographs@1").classes
    assert all(source.author and source.license for source in sources)
