"""Which of a benchmark's data and networks are here, and how to get the others. Opens no socket, reads no picture."""

import importlib
import os
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from pagbench import benchmarks, data
from pagbench.benchmarks import Benchmark, facts
from pagbench.cards import CifarCard, DistractorCard, Fitted, IdxCard, ImageNetCard, SamplesCard
from pagbench.data import cifar, folder, idx, imagenet
from pagbench.errors import DataError
from pagbench.models import registry
from pagbench.storage import assets
from pagbench.storage import downloads as fetching
from pagbench.training import parts

_PACKAGES = {"adm": "azula.plugins.adm", "diffusers": "diffusers", "autoencoder-kl": "diffusers"}
"""Modules that published networks of a kind are built with."""


class Lack(NamedTuple):
    """What is not here, the command that gets it, and whether a run cannot do without it."""

    told: str
    command: str = ""
    fatal: bool = True


def of(label: str) -> dict[str, Any]:
    """Whether a benchmark can run, and what it lacks, as a finding's fields."""
    benchmark = benchmarks.load(label)
    lacks = [*_data(benchmark), *_networks(benchmark), *_reference(benchmark), *_autoencoder(benchmark)]
    return {
        "state": "missing" if any(lack.fatal for lack in lacks) else "note" if lacks else "ok",
        "name": benchmark.label,
        "told": list(dict.fromkeys(lack.told for lack in lacks)),
        "commands": list(dict.fromkeys(lack.command for lack in lacks if lack.command)),
    }


def _fetch(benchmark: Benchmark) -> str:
    return f"pagbench fetch --benchmark {benchmark.label}"


def _data(benchmark: Benchmark) -> Iterator[Lack]:
    card = benchmark.dataset
    card = card.source if isinstance(card, DistractorCard) else card
    need = facts.of(benchmark).needs[0]
    place = need.place.strip("`").replace("$PAGBENCH_DATA", str(folder.root()))
    if isinstance(card, IdxCard) and idx.find(card) is None:
        debian = "; on Debian: apt-get install dataset-fashion-mnist" if card.kind == "fashion-mnist" else ""
        yield Lack(f"{need.what}, {need.download}, in {place}{debian}", _fetch(benchmark))
    elif isinstance(card, CifarCard) and cifar.find(card) is None:
        yield Lack(f"{need.what}, {need.download}, in {place}", _fetch(benchmark))
    elif isinstance(card, CifarCard) and (lacking := cifar.lacking(card)):
        yield Lack(f"{', '.join(lacking)} of {need.what}: delete {place} and fetch it anew", _fetch(benchmark))
    elif isinstance(card, ImageNetCard):
        yield from _pictures(benchmark, need)
    elif isinstance(card, SamplesCard):
        try:
            data.load(card)
        except DataError as error:
            yield Lack(str(error))


def _pictures(benchmark: Benchmark, need: facts.Need) -> Iterator[Lack]:
    place = imagenet.place()
    if not place.is_dir():
        yield Lack(f"{need.what}, {need.download}: put or link them, in a folder for each class, at {place}")
        return
    try:
        found = _numbers()
    except DataError as error:
        yield Lack(str(error))
        return
    absent = sorted(set(benchmark.samples) - found)
    if absent:
        yield Lack(f"{len(absent)} of {len(benchmark.samples)} pictures in {place}, as number {absent[0]}")


@cache
def _numbers() -> set[str]:
    """Numbers of the validation images that are here."""
    card = next(card for name in benchmarks.names() if isinstance(card := benchmarks.load(name).dataset, ImageNetCard))
    return set(imagenet.find(card)[0])


def _networks(benchmark: Benchmark) -> Iterator[Lack]:
    """Score models and tangent spaces that are networks."""
    second = None if benchmark.second is None else benchmark.second.score
    sizes = {need.what.strip("`"): need.download for need in facts.of(benchmark).needs[1:]}
    for card in dict.fromkeys(card for card in (benchmark.score, second, benchmark.manifold) if card is not None):
        yield from _package(card.kind)
        if card.weights is not None and not assets.find(card.weights).is_file():
            yield Lack(f"{card.weights}, a part of pagbench", "pip install --force-reinstall --no-deps pagbench")
        files = fetching.named_in(card)
        if any(fetching.find(file) is None for file in files):
            name = _name(card)
            size = f", {sizes[name]}" if name in sizes else ""
            place = os.path.commonpath([fetching.place(file).parent for file in files])
            yield Lack(f"{name}{size}, in {place}", _fetch(benchmark))


def _name(card: Fitted) -> str:
    return card.repository or getattr(card, "architecture", None) or fetching.named_in(card)[0].path


def _package(kind: str) -> Iterator[Lack]:
    name = _PACKAGES.get(kind)
    try:
        importlib.import_module(name or "pagbench")
    except Exception as error:  # a third party's code may raise anything
        yield Lack(f"{name} cannot be imported ({type(error).__name__}: {error})")


def _reference(benchmark: Benchmark) -> Iterator[Lack]:
    """The unregularised network: a run goes on without it."""
    if benchmark.reference is None:
        return
    absent = [file for file in fetching.named_in(registry.find(benchmark.reference)[0]) if fetching.find(file) is None]
    if absent:
        size = {need.what.strip("`"): need.download for need in facts.of(benchmark).needs}.get(benchmark.reference, "")
        known = size.partition(";")[0] or "size unknown"
        yield Lack(f"{benchmark.reference}, {known}: without it no regimes", _fetch(benchmark), fatal=False)


def _autoencoder(benchmark: Benchmark) -> Iterator[Lack]:
    home = parts.recipe_folder(benchmark)
    if home is not None and not any(home.glob("*.safetensors")):
        takes = facts.fit_time(benchmark)
        yield Lack(f"its autoencoder, which the first run trains ({takes}), in {home}", fatal=False)
