"""Cards of score models and manifolds say what they need and refuse what means nothing for their kind."""

import pytest
import torch

from pagbench import cards
from pagbench.cards import ManifoldCard, ScoreCard, plain_yaml
from pagbench.densities import manifolds, scores
from pagbench.errors import CardError
from pagbench.storage import downloads

FILE = {"path": "adm/weights.pt", "mirrors": ["https://example.org/weights.pt"]}


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "diffusers", "repository": "google/ddpm-cifar10-32", "license": "Apache-2.0"},
        {"kind": "diffusers", "repository": "./folder", "null_label": 10, "resolution": 64},
        {"kind": "adm", "architecture": "imagenet_64x64_cond", "download": [FILE], "other_classes": 8},
        {"kind": "edm", "download": [FILE]},
    ],
)
def test_score_cards(fields):
    assert ScoreCard.parse(fields, "test").kind == fields["kind"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "diffusers"}, "needs the field 'repository'"),
        ({"kind": "adm", "download": [FILE]}, "needs the field 'architecture'"),
        ({"kind": "edm"}, "needs the field 'download'"),
        ({"kind": "empirical", "repository": "a/b"}, "'repository' means nothing for kind 'empirical'"),
        ({"kind": "diffusion", "weights": "a.safetensors"}, "go together"),
    ],
)
def test_wrong_score_cards(fields, message):
    with pytest.raises(CardError, match=message):
        ScoreCard.parse(fields, "test")


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "posterior-covariance", "rank": 8, "sigma": 0.5, "score": {"kind": "diffusers", "repository": "a/b"}},
        {"kind": "local-pca", "rank": 8, "neighbours": 20},
        {"kind": "autoencoder", "rank": 8, "recipe": {"latent": 8, "width": 16, "epochs": 2}},
        {"kind": "autoencoder-kl", "rank": 8, "repository": "a/b"},
    ],
)
def test_manifold_cards(fields):
    assert ManifoldCard.parse(fields, "test").kind == fields["kind"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "local-pca", "rank": 8}, "needs the field 'neighbours'"),
        ({"kind": "local-pca", "rank": 8, "neighbours": 8}, "fewer than rank 8"),
        ({"kind": "autoencoder", "rank": 8}, "either weights, of a trained one, or a recipe"),
        ({"kind": "autoencoder", "rank": 8, "recipe": {"latent": 4, "width": 16, "epochs": 2}}, "fewer than rank 8"),
        ({"kind": "mask", "rank": 8, "sigma": 0.5}, "'sigma' means nothing for kind 'mask'"),
    ],
)
def test_wrong_manifold_cards(fields, message):
    with pytest.raises(CardError, match=message):
        ManifoldCard.parse(fields, "test")


@pytest.mark.parametrize("card", [ScoreCard, ManifoldCard])
def test_an_unknown_kind_is_one_line_with_the_known_ones(card):
    known = "'empirical', 'gaussian-mixture'" if card is ScoreCard else "'posterior-covariance', 'span'"
    with pytest.raises(CardError, match=f"test: field 'kind': Input should be {known}.* or '.*', got 'flat'$"):
        card.parse({"kind": "flat", "rank": 1} if card is ManifoldCard else {"kind": "flat"}, "test")


NEW = """
import torch
class Flat:
    weights_sha256 = "0"
    def score(self, x, sigma, labels=None): return 0 * x
    def tangent_basis(self, x): return torch.eye(x[0].numel())[:, :2].expand(len(x), -1, -1)
def build_score(card, benchmark, train): return Flat()
def build_manifold(card, benchmark, score, train): return Flat()
"""


def test_a_new_kind_is_a_module_one_line_and_a_card(tmp_path, monkeypatch, digits, digits_splits):
    (tmp_path / "flat_density.py").write_text(NEW)
    (tmp_path / "score.yaml").write_text("kind: flat\nrepository: a/b\n")
    (tmp_path / "manifold.yaml").write_text("kind: axes\nrank: 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(cards.SCORE_MODELS, "flat", cards.Kind("flat_density", ("repository",), fitted=True))
    monkeypatch.setitem(cards.MANIFOLDS, "axes", cards.Kind("flat_density", data="digits"))
    card = ScoreCard.parse(plain_yaml.read_yaml(tmp_path / "score.yaml"), "score.yaml")
    axes = ManifoldCard.parse(plain_yaml.read_yaml(tmp_path / "manifold.yaml"), "manifold.yaml")
    images, train = digits_splits.test.images[:3], digits_splits.train
    score = scores.build(card, digits, train)
    assert torch.equal(score.score(images, 0.5), 0 * images)
    assert manifolds.build(axes, digits, score, train).tangent_basis(images).shape == (3, 64, 2)
    assert scores.is_fitted(card) and not manifolds.is_fitted(axes, card)
    with pytest.raises(CardError, match="'flat' needs the field 'repository'"):
        ScoreCard.parse({"kind": "flat"}, "test")
    posterior = ManifoldCard(kind="posterior-covariance", rank=2)
    assert manifolds.is_fitted(posterior, card) and not manifolds.is_fitted(posterior, digits.score)
    changed = digits.model_copy(update={"score": card})
    with pytest.raises(CardError, match="score model 'flat' has no class posteriors"):
        scores.load_mixture(changed, train)


def test_what_must_be_fetched_is_known_without_fetching(tmp_path):
    unet = ScoreCard(kind="diffusers", repository="owner/name@abc")
    posterior = ManifoldCard(kind="posterior-covariance", rank=8, score=unet)
    vae = ManifoldCard(kind="autoencoder-kl", rank=8, repository="owner/name")
    paths = [file.path for file in downloads.files_of(posterior)]
    assert paths[0] == "hf/owner/name@abc/unet/config.json"
    assert [path.rpartition("/")[2] for path in paths] == [
        "config.json", "diffusion_pytorch_model.safetensors", "scheduler_config.json",
    ]  # fmt: skip
    assert downloads.files_of(vae)[1].mirrors == (
        "hf:owner/name@main/vae/diffusion_pytorch_model.safetensors",
        "hf:owner/name@main/diffusion_pytorch_model.safetensors",
    )
    assert downloads.files_of(ScoreCard.parse({"kind": "edm", "download": [FILE]}, "test"))[0].path == FILE["path"]
    assert not downloads.files_of(ScoreCard(kind="diffusers", repository=str(tmp_path)))
