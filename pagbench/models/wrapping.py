"""`smoothed:SIGMA[:SAMPLES]:MODEL`: any model under randomised smoothing. No torch."""

import re
from typing import NamedTuple

from pagbench.cards import ModelCard, SmoothingCard
from pagbench.errors import CardError

_PREFIX = "smoothed:"
_ID = re.compile(r"smoothed-([\d.e+-]+)-(\d+)/([^:]+)(?<!\.yaml)(?<!\.yml)")
_SAMPLES = 100


class Smoothed(NamedTuple):
    """A request for a model under smoothing.

    Attributes:
        card: the smoothing, `around` still unknown.
        model: what is smoothed, as the user named it.
    """

    card: SmoothingCard
    model: str


def parse(request: str) -> Smoothed | None:
    """What is smoothed and how, as users write it or as the card's id says; None where the request does not ask for it.

    >>> parse("smoothed:0.25:digits/standard")
    Smoothed(card=SmoothingCard(sigma=0.25, samples=100, seed=0, around=None), model='digits/standard')

    Raises:
        CardError: sigma or the number of samples is missing or out of range.
    """
    if (found := _ID.fullmatch(request)) is not None:
        request = _PREFIX + ":".join(found.groups())
    if not request.startswith(_PREFIX):
        return None
    sigma, _, model = request.removeprefix(_PREFIX).partition(":")
    count, separator, rest = model.partition(":")
    samples = str(_SAMPLES)
    if separator and count.isdigit():
        samples, model = count, rest
    if not sigma or not model:
        raise CardError(f"{request}: expected smoothed:SIGMA[:SAMPLES]:MODEL, as in smoothed:0.25:100:digits/standard")
    return Smoothed(SmoothingCard.parse({"sigma": sigma, "samples": samples}, request), model)


def card(base: ModelCard, smoothed: Smoothed) -> ModelCard:
    """The card of a smoothed model, id `smoothed-<sigma>-<samples>/<id>`.

    Raises:
        CardError: the model is smoothed already.
    """
    if base.smoothing is not None:
        raise CardError(f"{base.id}: is smoothed already; smooth the network itself")
    smoothing = smoothed.card.model_copy(update={"around": base.id})
    changed = {
        "id": f"smoothed-{smoothing.sigma:g}-{smoothing.samples}/{base.id}",
        "title": f"{base.title}, smoothed {smoothing.sigma:g}",
        "family": "smoothed",
        "strength": smoothing.sigma,
        "smoothing": smoothing,
        "published_accuracy": None,
    }
    return base.model_copy(update=changed)
