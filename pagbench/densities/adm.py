"""ADM networks (Dhariwal & Nichol 2021, arXiv 2105.05233) as score models, in the architecture that azula keeps."""

from typing import Any

from torch import Tensor

from pagbench.benchmarks import Benchmark
from pagbench.cards import RemoteFile, ScoreCard
from pagbench.data import Dataset
from pagbench.densities.network import DiscreteScore
from pagbench.errors import UnknownNameError, import_extra
from pagbench.storage import downloads, weights


def read(architecture: str, file: RemoteFile) -> DiscreteScore:
    """Builds the score model; the denoised image is not clipped, which would bias the score.

    Args:
        architecture: name of a card in `azula.plugins.adm`, as in `imagenet_64x64_cond`.
        file: the weights, as OpenAI publishes them.

    Raises:
        UnknownNameError: azula has no such card.
        WeightsError: the weights are missing, altered, or of another network.
    """
    adm = import_extra("azula.plugins.adm")
    cards = import_extra("azula.plugins.utils").load_cards(adm.__name__)
    if architecture not in cards:
        raise UnknownNameError("ADM network", architecture, cards)
    config: dict[str, Any] = dict(cards[architecture].config)
    path = downloads.get(file)  # which compares its hash
    state = weights.read(path)
    return wrap(adm.make_model(**config, clip_mean=False), config, state, str(path), weights.file_sha256(path))


def wrap(denoiser: Any, config: dict[str, Any], state: dict[str, Tensor], source: str, sha256: str) -> DiscreteScore:
    """The score model of azula's denoiser with these weights.

    Raises:
        WeightsError: the weights are of another network.
    """
    backbone = denoiser.backbone
    weights.load_into(backbone, state, source)
    spread = denoiser.sigmas.double()
    side = config["image_size"]

    def predict(x: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        out: Tensor = backbone(x, t, y=labels)
        return out[:, : x.shape[1]]  # the learned variance comes after the mean

    return DiscreteScore(
        backbone,
        predict,
        "epsilon",
        spread / (1 - spread.square()).sqrt(),
        conditional=config.get("num_classes") is not None,
        null_label=None,
        input_shape=(3, side, side),
        weights_sha256=sha256,
    )


def build_score(card: ScoreCard, benchmark: Benchmark, train: Dataset) -> DiscreteScore:
    """The score model of the card's architecture and file; see `read`."""
    assert card.architecture is not None and card.download is not None  # by the card's validation
    return read(card.architecture, card.download[0])
