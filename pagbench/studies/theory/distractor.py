"""After Theorem 2 for signal and distractor: the Bayes gradient vanishes on the part that says nothing of the class.

Where the signal's place is known, the distractor's density cancels from p(y|x). Where it is not, as on
`fashion-distractor@1`, the gradient on the distractor is what remains of the doubt about the place. The classes here
are Gaussian, beside that benchmark's glyphs, so that nothing has to be fetched.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pagbench import benchmarks, geometry
from pagbench.data import distractor, gaussians
from pagbench.data.gaussians import GaussianClasses, GaussiansCard
from pagbench.densities.empirical import EmpiricalDensity
from pagbench.densities.gaussian_mixture import GaussianMixture
from pagbench.densities.scores import ClassMixture
from pagbench.densities.signal_distractor import Mask, SignalDistractor
from pagbench.measures.response import l1_change
from pagbench.models.controls import BayesClassifier
from pagbench.studies.theory.claims import Claim
from pagbench.studies.theory.closed_forms import bayes_gradient, gaussian_card, noise, normal_fraction, normal_part

_IMAGES = 8
_SIGMAS = (16.0, 8.0, 5.6, 4.0, 3.4, 2.8, 2.4, 2.0)
_REACTION_SIGMA, _DRAWS = 4.0, 4
STDS = (0.1, 0.316, 1.0, 3.16, 10.0)
"""Of the noise on signal or distractor, per pixel; two more decades than the benchmark's smaller ones."""


class Placed(NamedTuple):
    """The experiment.

    Attributes:
        fixed: ‖g on the distractor‖/‖g‖ where the distractor's place is known, shape (points,).
        sigmas: blurs, pixel units, falling.
        energy: ‖g on the distractor‖²/‖g‖² where it is not, shape (sigmas, images).
        doubt: posterior probability of the wrong place, shape (sigmas, images).
        reactions: mean L1 change of the softmax to noise on the signal and on the distractor, shape (stds, 2).
        image: one of them.
        gradients: its Bayes gradients at the smallest and the largest blur.
    """

    fixed: Float[Tensor, "points"]
    sigmas: Float[Tensor, "sigmas"]
    energy: Float[Tensor, "sigmas images"]
    doubt: Float[Tensor, "sigmas images"]
    reactions: Float[Tensor, "stds two"]
    image: Float[Tensor, "1 h2 w"]
    gradients: Float[Tensor, "two 1 h2 w"]


class _Images(NamedTuple):
    x: Float[Tensor, "b 1 h2 w"]
    labels: Int[Tensor, "b"]
    above: Bool[Tensor, "b"]


def measure() -> Placed:
    """Runs the experiment on Gaussian classes beside the benchmark's glyphs."""
    card = gaussian_card("gaussians").model_copy(update={"side": distractor.glyphs().shape[-1], "count": _IMAGES})
    images, signal = _images(card), GaussianMixture(gaussians.parameters(card))
    glyphs = distractor.glyphs()
    density = SignalDistractor(signal, EmpiricalDensity(glyphs, torch.zeros(len(glyphs), dtype=torch.long), classes=1))
    basis = Mask(glyphs).tangent_basis(images.x).double()
    steps = noise(0, *images.x.shape)
    blurred = {sigma: images.x + sigma * steps for sigma in _SIGMAS}
    gradients = torch.stack([bayes_gradient(density, sigma, x, images.labels) for sigma, x in blurred.items()])
    return Placed(
        fixed=_fixed(),
        sigmas=torch.tensor(_SIGMAS, dtype=torch.float64),
        energy=torch.stack([normal_fraction(basis, gradient) for gradient in gradients]).square(),
        doubt=torch.stack([_doubt(density, sigma, x, images.above) for sigma, x in blurred.items()]),
        reactions=_reactions(density, images.x, basis),
        image=images.x[0],
        gradients=gradients[[-1, 0], 0],
    )


def claims(result: Placed) -> list[Claim]:
    """What Theorem 2 predicts of a distractor."""
    after, energy = "after Theorem 2", result.energy.mean(1)
    return [
        Claim(
            "the Bayes gradient is 0 on a distractor at a known place", "p(y|x) = p(y|signal)", after,
            float(result.fixed.max()), "of ‖g‖", 1e-10,
        ),
        Claim(
            "at an unknown place it falls to 0 with the blur",
            "‖g on distractor‖²/‖g‖² → 0 with P(wrong place|x)", after,
            float(max(energy[-1], (energy[1:] - energy[:-1]).max())), "of ‖g‖²", 1e-10,
        ),
        Claim(
            "noise on the distractor changes the outputs less than noise on the signal",
            "relative noise robustness > 1", "after the signal-distractor experiment",
            float((result.reactions[:, 1] / result.reactions[:, 0]).max()), "times as much", 1.0,
        ),
    ]  # fmt: skip


def _fixed() -> Float[Tensor, "points"]:
    """Two images of the Gaussian benchmark side by side, of which the second is always of the first class."""
    card = gaussian_card("gaussians")
    classes = gaussians.parameters(card)
    same = torch.zeros(card.classes, dtype=torch.long)
    beside = GaussianClasses(
        means=torch.cat([classes.means, classes.means[same]], dim=1),
        basis=torch.block_diag(classes.basis, classes.basis),
        variances=torch.cat([classes.variances, classes.variances[same]], dim=1),
        noise=classes.noise,
    )
    d = card.side**2
    x = (0.5 + noise(1, 100, 2 * d)).reshape(100, 1, 2 * card.side, card.side)
    labels = torch.arange(100) % card.classes
    signal = torch.eye(2 * d, dtype=torch.float64)[:, :d].expand(100, 2 * d, d)
    return normal_fraction(
        signal, bayes_gradient(GaussianMixture(beside), benchmarks.load("gaussians").sigma, x, labels)
    )


def _images(card: GaussiansCard) -> _Images:
    """Signals with the glyphs in turn, above and below in turn."""
    images, labels = gaussians.sample(card)
    index, glyphs = torch.arange(len(images)), distractor.glyphs()
    above = index % 8 < 4
    pairs = torch.stack([images, glyphs[index % len(glyphs)]], dim=1)
    pairs[~above] = pairs[~above].flip(1)
    return _Images(pairs.movedim(1, 2).flatten(2, 3).double(), labels, above)


def _doubt(
    density: SignalDistractor, sigma: float, x: Float[Tensor, "b 1 h2 w"], above: Bool[Tensor, "b"]
) -> Float[Tensor, "b"]:
    side = density.side_posterior(x, sigma)
    return side[:, 1].where(above, side[:, 0])


def _reactions(
    density: ClassMixture, x: Float[Tensor, "b 1 h2 w"], basis: Float[Tensor, "b d k"]
) -> Float[Tensor, "stds two"]:
    classifier = BayesClassifier(density, _REACTION_SIGMA)
    drawn = noise(2, _DRAWS, *x.shape)
    on = torch.stack([geometry.project(basis, each.flatten(1)) for each in drawn], dim=1)
    off = torch.stack([normal_part(basis, each) for each in drawn], dim=1)
    still = classifier(x)[:, None, None]
    changes = [l1_change(geometry.moved_logits(classifier, x, steps, STDS), still) for steps in (on, off)]
    return torch.stack([change.mean(dim=(0, 2)) for change in changes], dim=1)
