"""Against the reference protocol: the same numbers, and how much sooner.

The reference takes an image after the other, so that a few images tell its time; ours are in batches.
"""

import time

import numpy as np
import pairs
import pytest
import reference_protocol as reference
import setting
import torch

from pagbench.densities.autoencoder import AutoencoderManifold
from pagbench.measures import lpips
from pagbench.models.classifier import Classifier

pytestmark = pytest.mark.benchmark(timer=time.process_time)

MODELS = 20


@pytest.fixture(scope="module")
def given():
    return setting.images(32)


@pytest.fixture(scope="module")
def metric():
    return lpips.model(torch.device("cpu"))


@pytest.fixture(scope="module")
def plain():
    """The network as the reference has it: nobody has frozen its parameters."""
    return setting.network()


@pytest.fixture(scope="module")
def classifier():
    return Classifier(setting.network())


@pytest.fixture(scope="module")
def manifold():
    return AutoencoderManifold(setting.autoencoder(), setting.LATENT)


@pytest.fixture(scope="module")
def vectors(given):
    """Tangent vectors of the first image, from all its output pixels."""
    return tangent_vectors(given, 0)


def tangent_vectors(given, index, width=16, pixels=None):
    network = setting.autoencoder(width)
    code = network.encoder(given.pixels[index : index + 1])[0]
    return reference.tangent_vectors(network.decoder, code, pixels)


def part(given, count):
    return setting.Images(*(values[:count] for values in given))


def test_tangent_spaces(turns, told, given, manifold, vectors):
    count = 8

    def theirs():
        found = tangent_vectors(given, 0)
        reference.project(found.numpy(), given.noise[0].flatten().numpy())

    ours, other = turns(lambda: manifold.tangent_basis(given.pixels[:count]), theirs, rounds=3)
    basis = manifold.tangent_basis(given.pixels[:1])[0].float()
    inside = reference.project(vectors.numpy(), given.noise[0].flatten().numpy())
    np.testing.assert_allclose(basis @ (basis.T @ given.noise[0].flatten()), inside, atol=1e-4)
    name = "a backward pass per pixel and orthogonalisation (timed on 1 image)"
    told(pairs.faster("tangent space, 128 latents, width 16, an image", over(ours, count), name, other, least=100))


def test_tangent_spaces_of_a_wide_decoder(turns, told, given):
    """Of the width that `cifar10-paper@1` trains; the more arithmetic, the less there is to gain."""
    count, pixels = 4, range(0, 3072, 24)
    wide = AutoencoderManifold(setting.autoencoder(64), setting.LATENT)
    ours, other = turns(
        lambda: wide.tangent_basis(given.pixels[:count]), lambda: tangent_vectors(given, 0, 64, pixels), rounds=3
    )
    other = [24 * value for value in other]
    name = f"a backward pass per pixel (timed on {len(pixels)} of 3,072 pixels)"
    told(pairs.faster("tangent space, 128 latents, width 64, an image", over(ours, count), name, other, least=None))


def test_responses(turns, told, given, manifold, plain, classifier, vectors):
    count = 16
    some = part(given, count)
    prepared = setting.prepare(manifold, some)

    def ours():
        logits = classifier(some.pixels)
        return [setting.paper.responses(classifier, some.pixels, logits, side) for side in prepared.directions]

    def theirs():
        return reference.responses(plain, some.pixels[0], vectors, some.noise[0])

    with torch.no_grad():
        mine, other = turns(torch.no_grad()(ours), torch.enable_grad()(theirs), rounds=5)
        for found, expected in zip(ours(), theirs(), strict=True):
            np.testing.assert_allclose(found[0], expected, atol=1e-4)
    name = "one image, one step at a time (timed on 1 image)"
    what = "on and off responses at 4 step lengths, tangent vectors given, an image"
    told(pairs.faster(what, over(mine, count), name, other, least=None))


def test_responses_from_the_image(turns, told, given, manifold, plain, classifier):
    count = 16
    some = part(given, count)

    def ours():
        directions = setting.prepare(manifold, some).directions
        logits = classifier(some.pixels)
        return [setting.paper.responses(classifier, some.pixels, logits, side) for side in directions]

    def theirs():
        return reference.responses(plain, some.pixels[0], tangent_vectors(given, 0), some.noise[0])

    mine, other = turns(torch.no_grad()(ours), theirs, rounds=3)
    what = "on and off responses at 4 step lengths, from the image, an image"
    told(pairs.faster(what, over(mine, count), "the same with its tangent vectors (timed on 1 image)", other, least=10))


def test_alignment(turns, told, given, plain, classifier, metric):
    count = 16
    some = part(given, count)
    embedded = lpips.embed(setting.geometry.scale_to_unit_range(some.scores), side=None)

    def ours():
        return setting.alignment(classifier, some, embedded)

    def theirs():
        cases = zip(some.pixels[:2], some.labels[:2].tolist(), some.scores[:2], strict=True)
        return [reference.alignment(plain, *case, metric) for case in cases]

    mine, other = turns(ours, theirs, rounds=5)
    np.testing.assert_allclose(ours()[:2], theirs(), atol=1e-4)
    what = "alignment of the gradient with a given score, an image"
    name = "one image and one pair at a time (timed on 2 images)"
    told(pairs.faster(what, over(mine, count), name, over(other, 2), least=None))


def test_alignment_of_twenty_models(turns, told, given, plain, metric):
    count = 8
    some, score = part(given, count), setting.score_model()
    models = [Classifier(setting.network(seed)) for seed in range(MODELS)]
    results = {}

    def ours():
        scores = score(some.pixels)
        embedded = lpips.embed(setting.geometry.scale_to_unit_range(scores), side=None)
        results["ours"] = [setting.alignment(classifier, some, embedded) for classifier in models]

    def theirs():
        found = score(some.pixels[:1])[0]
        results["reference"] = reference.alignment(plain, some.pixels[0], int(some.labels[0]), found, metric)

    mine, other = turns(ours, theirs, rounds=3)
    np.testing.assert_allclose(results["ours"][0][0], results["reference"], atol=1e-4)
    what = f"alignment of {MODELS} models with a diffusion model's score, from the image, an image"
    name = f"one image and one pair at a time, nothing shared (timed on 1 image and 1 model, times {MODELS})"
    told(pairs.faster(what, over(mine, count), name, [MODELS * value for value in other], least=5))


def test_evaluation_of_twenty_models(turns, told, given, manifold, plain, metric):
    count = 8
    some = part(given, count)
    models = [Classifier(setting.network(seed)) for seed in range(MODELS)]
    tangent, model, results = [], [], {}

    def ours():
        prepared = setting.prepare(manifold, some)
        results["ours"] = [setting.evaluate(classifier, some, prepared) for classifier in models]

    def theirs():
        start = pairs.clock()
        vectors = tangent_vectors(given, 0)
        tangent.append(pairs.clock() - start)
        start = pairs.clock()
        results["reference"] = reference.evaluate(
            plain, some.pixels[0], int(some.labels[0]),
            vectors=vectors, noise=some.noise[0], score=some.scores[0], lpips=metric,
        )  # fmt: skip
        model.append(pairs.clock() - start)

    mine, _ = turns(ours, theirs, rounds=3)
    for found, expected in zip(results["ours"][0], results["reference"], strict=True):
        np.testing.assert_allclose(found[0], expected, atol=1e-4)
    mine = over(mine, count)
    what = f"full evaluation of {MODELS} models, an image"
    times = f"(timed on 1 image and 1 model, times {MODELS})"
    kept = [t + MODELS * e for t, e in zip(tangent, model, strict=True)]
    told(pairs.faster(what, mine, f"tangent vectors kept for all models {times}", kept, least=None))
    anew = [MODELS * (t + e) for t, e in zip(tangent, model, strict=True)]
    told(pairs.faster(what, mine, f"nothing shared between models {times}", anew, least=30))


def over(values, count):
    """Seconds per image."""
    return [value / count for value in values]
