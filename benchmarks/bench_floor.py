"""Against the bare forward and backward passes that the measures need, batched, of the same network."""

import time

import pairs
import pytest
import setting
import torch

from pagbench import geometry, measures
from pagbench.measures import lpips
from pagbench.models.classifier import Classifier

pytestmark = pytest.mark.benchmark(timer=time.process_time)

IMAGES, BATCH = 256, 32


def measured(classifier, benchmark, batch):
    """All columns of a batch, as a run has them."""
    seen = setting.context(classifier, benchmark, batch)
    return {name: value for measure in benchmark.measures for name, value in measures.load(measure)(seen).items()}


def bare(network, batch, *, forward, backward):
    """The passes alone: one forward pass that is differentiated, the others without; LPIPS's network once."""
    gradient = setting.bare_passes(network, batch.images, forward, backward)
    with torch.no_grad():
        metric = lpips.model(torch.device("cpu"))
        metric.net(metric.scaling_layer(lpips.enlarge(geometry.scale_to_unit_range(gradient))))


CASES = {
    # 1 differentiated, 2 sides × 4 directions × 1 length, 2 ends × 5 steps of the check of the gradient; 1 gradient
    "a gradient, responses, faithfulness, alignment": (("response",), 19, 1),
    # 1 and 10 as above; 1 gradient and 10 classes
    "a gradient, sensitivities, faithfulness, alignment": (("sensitivity",), 11, 11),
}


@pytest.mark.parametrize("case", CASES)
def test_floor(turns, told, case):
    extra, forward, backward = CASES[case]
    measures = ("accuracy", *extra, "faithfulness", "tangent", "alignment_cosine", "alignment_lpips")
    # as few steps as a definition may have: with more of them, what is done once weighs less
    benchmark = setting.definition(epsilons=(2.64,), epsilon=2.64, directions=4, measures=measures)
    network = setting.network()
    classifier, batch = Classifier(network), setting.batch(benchmark, BATCH)
    rounds = IMAGES // BATCH if extra == ("response",) else 3
    ours, floor = turns(
        lambda: measured(classifier, benchmark, batch),
        lambda: bare(network, batch, forward=forward, backward=backward),
        rounds,
    )
    what = f"{case}: {rounds * BATCH} images, ResNet-18"
    name = f"{forward} forward and {backward} backward passes, LPIPS's network once"
    told(pairs.overhead(what, ours, name, floor, most=0.1))
