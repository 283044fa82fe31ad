"""Real colour images of CIFAR's size: `photographs@1` with a network that is published on it, from pixels to rows."""

import resource
import subprocess
import sys
import time

import pairs
import pytest
import reference_protocol as reference
import setting
import torch

from pagbench import benchmarks, data, geometry, measures
from pagbench.measures import lpips
from pagbench.measures.calibration import Temperature
from pagbench.models import registry
from pagbench.running import targets

pytestmark = pytest.mark.benchmark(timer=time.process_time)

IMAGES, MODEL = 64, "photographs/standard"


@pytest.fixture(scope="module")
def definition():
    return benchmarks.load("photographs@1")


@pytest.fixture(scope="module")
def splits(definition):
    return data.splits(definition)


def test_targets(turns, told, definition, splits):
    """All that is computed once for all models: targets at eight noise levels, tangent space, what LPIPS sees."""
    some = splits.test.select(splits.test.ids[:IMAGES])
    computation = targets.Computation(definition, splits, 0, torch.device("cpu"))
    autoencoder, score = setting.autoencoder(), setting.score_model()

    def theirs():
        code = autoencoder.encoder(some.images[:1])[0]
        reference.tangent_vectors(autoencoder.decoder, code)
        score(some.images[:1])

    mine, other = turns(lambda: computation(some), theirs, rounds=3)
    what = f"all targets of `photographs@1`, an image (of {IMAGES})"
    name = "a diffusion model's score, and a backward pass per pixel through a decoder (timed on 1 image)"
    told(pairs.faster(what, [seconds / IMAGES for seconds in mine], name, other, least=10))


class Passes:
    """Counts the passes of a network's batches: forward by a hook, backward by autograd's own function."""

    def __init__(self, network, monkeypatch):
        self.forward = self.backward = 0
        network.register_forward_hook(self._went)
        grad = torch.autograd.grad

        def counted(*arguments, **options):
            self.backward += 1
            return grad(*arguments, **options)

        monkeypatch.setattr(torch.autograd, "grad", counted)

    def _went(self, network, arguments, output):
        self.forward += len(arguments[0]) / IMAGES


def test_rows(turns, told, definition, splits, monkeypatch):
    """A model's own part, targets given, against as many bare passes of the same network."""
    device = torch.device("cpu")
    batch = targets.compute(definition, splits, splits.test.ids, seed=0, device=device).batch(splits.test.ids[:IMAGES])
    classifier = registry.find(MODEL).load(definition).classifier

    def measured():
        seen = measures.MeasureContext(classifier, batch, definition, Temperature(1.0, 1.0, 1.0))
        return {name: value for measure in definition.measures for name, value in measures.load(measure)(seen).items()}

    with monkeypatch.context() as patch:
        passes = Passes(classifier, patch)
        measured()
    forward, backward = round(passes.forward), passes.backward

    def bare():
        gradient = setting.bare_passes(classifier, batch.images, forward, backward)
        with torch.no_grad():
            lpips.embed(geometry.scale_to_unit_range(gradient))
            for _ in range(2):  # the paper's protocol, at the maps' own size
                lpips.embed(geometry.scale_to_unit_range(gradient), side=None)

    mine, floor = turns(measured, bare, rounds=5)
    name = f"{forward} forward and {backward} backward passes, LPIPS's network thrice"
    told(pairs.faster(f"all rows of `photographs@1`: {IMAGES} images, {MODEL}", mine, name, floor, least=None))


def test_memory(benchmark, told, tmp_path):
    """The largest resident size of a whole run, its data set, density and targets among it."""
    options = ["--limit", str(IMAGES), "--device", "cpu", "--results", str(tmp_path), "--overwrite"]
    command = [sys.executable, "-m", "pagbench", "run", MODEL, "-b", "photographs@1", *options]
    benchmark.pedantic(lambda: subprocess.run(command, check=True, capture_output=True), rounds=1)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    what = f"a whole run of `photographs@1` with the Bayes control, {IMAGES} images, peak of resident memory"
    told(pairs.Row(what, f"{peak:.2f} GiB", "", "", "", "", ""))
