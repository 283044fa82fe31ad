"""Cards of score models and manifolds say what they need and refuse what means nothing for their kind."""

import pytest

from pagbench.cards import ManifoldCard, ScoreCard
from pagbench.errors import CardError
from pagbench.storage import downloads as fetching

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


def test_what_must_be_fetched_is_known_without_fetching(tmp_path):
    unet = ScoreCard(kind="diffusers", repository="owner/name@abc")
    posterior = ManifoldCard(kind="posterior-covariance", rank=8, score=unet)
    vae = ManifoldCard(kind="autoencoder-kl", rank=8, repository="owner/name")
    paths = [file.path for file in fetching.named_in(posterior)]
    assert paths[0] == "hf/owner/name@abc/unet/config.json"
    assert [path.rpartition("/")[2] for path in paths] == [
        "config.json", "diffusion_pytorch_model.safetensors", "scheduler_config.json",
    ]  # fmt: skip
    assert fetching.named_in(vae)[1].mirrors == (
        "hf:owner/name@main/vae/diffusion_pytorch_model.safetensors",
        "hf:owner/name@main/diffusion_pytorch_model.safetensors",
    )
    assert fetching.named_in(ScoreCard.parse({"kind": "edm", "download": [FILE]}, "test"))[0].path == FILE["path"]
    assert not fetching.named_in(ScoreCard(kind="diffusers", repository=str(tmp_path)))
