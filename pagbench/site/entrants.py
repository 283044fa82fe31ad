"""The pages of entrants: one each, with all benchmarks it was measured on."""

from collections.abc import Iterator, Sequence

from pagbench.site.rendering import Page
from pagbench.study import Network, Study


def pages(studies: Sequence[Study]) -> Iterator[Page]:
    """The pages `models/<id>.html`, by id."""
    found: dict[str, list[tuple[Study, Network]]] = {}
    for study in studies:
        for network in study.networks:
            found.setdefault(network.card.id, []).append((study, network))
    for name, measured in sorted(found.items()):
        card = measured[0][1].card
        yield Page(f"models/{name}.html", "entrant.html.j2", name, {"card": card, "measured": measured})
