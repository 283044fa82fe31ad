"""Pictures of what was made by following a model's gradient: one per benchmark, a line of images for each task."""

from collections.abc import Iterator, Sequence

from pagbench import columns
from pagbench.reports.site import painting
from pagbench.reports.site.painting import Tile, Values
from pagbench.results.thumbnails import GENERATED, GeneratedImages
from pagbench.studies.networks import Network, Study

_NAMES = tuple(dict.fromkeys(name for measure in columns.ABILITIES for name in columns.MEASURES[measure].images))
"""What a line may show, in the order of a picture's lines."""


def line(study: Study, network: Network | None, name: str, alt: str) -> Tile | None:
    """Images of one name beside each other, those of the benchmark's first samples; None where there are none.

    Args:
        study: of the benchmark.
        network: whose results file has them.
        name: of the images, as the measure declares them.
        alt: what they show, in words.
    """
    found = {} if network is None else _lines(study, network)
    if network is None or name not in found:
        return None
    height, width = _cell(found)
    x, y = painting.corner(list(found).index(name), 0, (height, width))
    whole = painting.corner(len(found), len(found[name]), (height, width))
    return Tile(_path(study, network), x, y, whole[0] - 2 * painting.GAP, height, whole, alt)


def holder(study: Study, name: str) -> Network | None:
    """Whose results file has the images of a name: the Bayes control's, else the first one's."""
    listed = (study.named(study.benchmark.bayes), *study.networks)
    return next((one for one in listed if one is not None and name in _lines(study, one)), None)


def classes(study: Study) -> list[int]:
    """The class of each image of a line, for the samples that were measured."""
    return [study.labels[sample] for sample in study.benchmark.samples[:GENERATED] if sample in study.labels]


def files(studies: Sequence[Study]) -> Iterator[tuple[str, bytes]]:
    """The pictures of all models that have such images, with their place below the site's folder."""
    for study in studies:
        for network in study.networks:
            if found := _lines(study, network):
                yield _path(study, network), painting.grid(list(found.values()), images=GENERATED)


def _lines(study: Study, network: Network) -> dict[str, list[Values | None]]:
    """Lines by name, one cell for each of the benchmark's first samples; those of the first line's size."""
    samples = study.benchmark.samples[:GENERATED]
    found = {name: _cells(network.made[name], samples) for name in _NAMES if name in network.made}
    found = {name: cells for name, cells in found.items() if any(cell is not None for cell in cells)}
    return {name: cells for name, cells in found.items() if _cell({name: cells}) == _cell(found)}


def _cells(made: GeneratedImages, samples: Sequence[str]) -> list[Values | None]:
    known = dict(zip(made.sample_ids, made.images, strict=True))
    return [known.get(sample) for sample in samples]


def _cell(lines: dict[str, list[Values | None]]) -> tuple[int, int]:
    """Height and width of the first image."""
    height, width = next(cell.shape[1:] for cells in lines.values() for cell in cells if cell is not None)
    return height, width


def _path(study: Study, network: Network) -> str:
    return f"images/{study.benchmark.label}+made/{network.card.id}.png"
