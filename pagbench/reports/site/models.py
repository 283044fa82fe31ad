"""The pages of models: one each, with all benchmarks it was measured on."""

from collections.abc import Iterator, Sequence
from typing import Any

from pagbench.benchmarks import facts
from pagbench.reports.site import abilities, citation, histograms, made, origins, pictures, standing
from pagbench.reports.site.rendering import Page
from pagbench.studies import paths
from pagbench.studies.networks import Network, Study


def pages(studies: Sequence[Study]) -> Iterator[Page]:
    """The pages `models/<id>.html`, by id."""
    found: dict[str, list[tuple[Study, Network]]] = {}
    for study in studies:
        for network in study.networks:
            found.setdefault(network.card.id, []).append((study, network))
    cited = {study.benchmark.label: sources(study) for study in studies}
    for name, measured in sorted(found.items()):
        card = measured[0][1].card
        content = {
            "card": card,
            "facts": origins.card(card),
            "parts": [part(study, network) for study, network in measured],
            "bibtex": citation.bibtex(card),
            "network_citation": citation.text(card),
            "sources": dict.fromkeys(source for study, _ in measured for source in cited[study.benchmark.label]),
        }
        yield Page(f"models/{name}.html", "model.html.j2", name, content)


def sources(study: Study) -> list[str]:
    """What else to cite: pagbench, and what the benchmark is made of."""
    return [facts.citation(), *facts.of(study.benchmark).sources]


def part(study: Study, network: Network) -> dict[str, Any]:
    """What a page shows of one benchmark."""
    return {
        "study": study,
        "label": study.benchmark.label,
        "network": network,
        "row": study.entries[network.card.id],
        "summary": standing.summary(study, network),
        "scales": standing.scales(study, network),
        "measures": standing.measures(study, network),
        "gallery": pictures.gallery(study, network),
        "abilities": abilities.of(study, network),
        "followed": abilities.count(study.benchmark),
        "classes": made.classes(study),
        "steps": steps(study, network),
        "histograms": histograms.histograms(study, network),
        "commands": origins.commands(study, network),
        "record": origins.record(study, network),
        "runs": origins.runs(network),
        "versions": origins.versions,
    }


def steps(study: Study, network: Network) -> list[tuple[str, Network, list[standing.Measured]]]:
    """The networks next to one on its path, and itself: which they are, and their first measures."""
    near = paths.neighbours(study, network)
    first = study.is_standard(network)
    listed = [("weaker", other) for other in near.weaker] + [("this network", network)]
    listed += [("other training seed", other) for other in near.siblings]
    listed += [("first of its family" if first else "stronger", other) for other in near.stronger]
    known = standing.documented(study.benchmark)
    names = [name for name in standing.KEYS if name in study.board]
    return [
        (place, other, [standing.shown(known[name], study.interval(other.card.id, name)) for name in names])
        for place, other in listed
        if len(listed) > 1
    ]
