"""The pictures that a results file carries, computed: gradients of a few images, and what following them makes."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from pagbench import columns, geometry
from pagbench.data import Dataset
from pagbench.models.devices import retry_on_oom
from pagbench.models.loading import LoadedModel
from pagbench.models.smoothing import sampled
from pagbench.results.thumbnails import COUNT, GENERATED, encode, encode_generated, extremes
from pagbench.running.session import Session

Targeting = Callable[[Dataset], Tensor]
"""Bayes targets of some images, shape (n, c, h, w)."""


def build(session: Session, model: LoadedModel, rows: pd.DataFrame, measure: str | None = None) -> dict[str, Any]:
    """All pictures of a model's results file, as plain JSON values by their names in its provenance.

    Args:
        session: the benchmark's data and targets.
        model: whose gradients.
        rows: its own, in the benchmark's order.
        measure: the optional measure whose file it is; None for the benchmark's own measures.
    """
    if measure is not None:
        return {"made": _generated(session, model, measure)} if measure in columns.ABILITIES else {}
    benchmark, device, batch_size = session.benchmark, session.config.device, session.first_batch
    test, target = session.splits.test, session.targets.target
    first = test.select(benchmark.samples[:COUNT])
    # a Bayes control's gradients are the targets of the first images, so that no other model has to keep these
    wanted = target if benchmark.bayes is None else None
    classifier = session.measured(model)
    maps = gradients(classifier, first, target=wanted, device=device, batch_size=batch_size)
    chosen = extremes(rows, benchmark.alignment)  # none where no gradient is scored
    if not chosen:
        return {"maps": maps, "gallery": None}
    kinds, names = zip(*chosen, strict=True)
    images = test.select(names)
    gallery = gradients(classifier, images, target=target, kinds=kinds, device=device, batch_size=batch_size)
    return {"maps": maps, "gallery": gallery}


def gradients(
    classifier: nn.Module,
    images: Dataset,
    *,
    device: torch.device,
    batch_size: int,
    target: Targeting | None = None,
    kinds: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Pixels and log-odds gradients of a few images, as plain JSON values.

    Args:
        classifier: whose gradients, as the benchmark measures it; on the device.
        images: the images.
        device: where to compute.
        batch_size: images at a time; fewer where memory does not hold them.
        target: gives their Bayes targets; None to leave these out.
        kinds: why each image is shown; see `pagbench.results.thumbnails`.
    """

    def gradient(part: Dataset) -> Tensor:
        with sampled(classifier, part.ids):
            odds = geometry.log_odds_gradient(classifier, part.images.to(device), part.labels.to(device))
            return odds.gradient.cpu()

    values = retry_on_oom(batch_size, lambda size: torch.cat([gradient(part) for part in images.chunks(size)]))
    targets = None if target is None else target(images).float().cpu().numpy()
    return encode(images.ids, images.images.numpy(), values.numpy(), targets=targets, kinds=kinds)


def _generated(session: Session, model: LoadedModel, measure: str) -> dict[str, Any]:
    """Images that a model's gradient makes of the first samples, as plain JSON values.

    What was there before is the same for all models: it comes with the Bayes control only, or with every model where a
    benchmark has no such control.
    """
    ids = columns.samples_of(session.benchmark, measure)[:GENERATED]
    shared = session.benchmark.bayes in (None, model.card.id)
    images = session.generated(model, ids, measure)
    kept = {name: values.cpu().numpy() for name, values in images.items() if shared or name.startswith(measure)}
    return encode_generated(ids, kept)
