"""Oracles that the tests compare the package with: formulas, quadratures and finite differences, float64 throughout."""

import math

import numpy as np
import torch
from scipy.special import expit, gamma, roots_jacobi

from pagbench.data.gaussians import GaussianClasses
from pagbench.densities.mixture import Parameters


def images_of(points):
    """Vectors as one-row images, the shape that the package takes."""
    return points[:, None, None, :]


def normal(seed, *shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def orthonormal(seed, d, k):
    return torch.linalg.qr(normal(seed, d, k)).Q


def gaussian_classes(seed, *, classes=3, d=12, rank=4, noise=0.3, shared_span=True):
    """Random low-rank classes; without a shared span the means differ in every direction."""
    basis = orthonormal(seed, d, rank)
    offsets = normal(seed + 1, classes, rank) @ basis.T if shared_span else normal(seed + 1, classes, d)
    variances = 0.3 + normal(seed + 2, classes, rank).square()
    return GaussianClasses(means=0.5 + offsets, basis=basis, variances=variances, noise=noise)


def linear_schedule(steps=1000, first=1e-4, last=2e-2):
    """Noise levels sigma_t = √((1 - ā_t)/ā_t) of the DDPM schedule, t from 0 (Ho et al. 2020, arXiv 2006.11239)."""
    kept = torch.cumprod(1 - torch.linspace(first, last, steps, dtype=torch.float64), dim=0)
    return ((1 - kept) / kept).sqrt()


def covariances(classes, sigma=0.0):
    """Dense class covariances of the data blurred with sigma."""
    d = len(classes.basis)
    spread = (classes.basis * classes.variances[:, None]) @ classes.basis.T
    return spread + (classes.noise**2 + sigma**2) * torch.eye(d, dtype=torch.float64)


def central_differences(function, x, step=1e-4):
    """Jacobian of a function of a batch by central differences of fourth order, shape (b, ..., d)."""
    columns = []
    for unit in torch.eye(x[0].numel(), dtype=x.dtype):
        h = step * unit.reshape(x.shape[1:])
        near, far = function(x + h) - function(x - h), function(x + 2 * h) - function(x - 2 * h)
        columns.append((8 * near - far) / (12 * step))
    return torch.stack(columns, dim=-1)


def mean_projection(k):
    """E|t| of one coordinate t of a uniform direction in k dimensions."""
    return gamma(k / 2) / (math.sqrt(math.pi) * gamma((k + 1) / 2))


def logistic_response(epsilon, norm, k, means, std):
    """Expected L1 response of sigmoid(z) to a uniform step in k dimensions, in which z has slope norm.

    z is a mixture of N(m, std²), m in means; Gauss-Hermite over z, Gauss-Jacobi over the step's coordinate.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    t, mass = roots_jacobi(80, (k - 3) / 2, (k - 3) / 2)
    z = np.add.outer(np.asarray(means), std * nodes)[..., None]
    change = 2 * np.abs(expit(z + epsilon * norm * t) - expit(z))
    return float((change @ (mass / mass.sum()) @ (weights / weights.sum())).mean())


def quadratic_response(gradient, hessian, projector, std):
    """E (f(x + u) - f(x))² of a quadratic f for u ~ N(0, std² Q), Q an orthogonal projector."""
    curvature = projector @ hessian @ projector
    second = 2 * curvature.square().sum() + curvature.trace().square()
    return std**2 * (projector @ gradient).square().sum() + std**4 / 4 * second


def standard_error(values, dim=0):
    return values.std(dim=dim) / math.sqrt(values.shape[dim])


def mixture_parameters(seed, *, d=12, m=7, r=3, classes=3, components=2):
    """A mixture whose components differ in everything that they may, in m of d directions."""
    n = classes * components
    weights = torch.rand(classes, components, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + 0.2
    return Parameters(
        centre=0.5 + 0.1 * normal(seed + 1, d),
        directions=orthonormal(seed + 2, d, m),
        means=0.6 * normal(seed + 3, n, m),
        bases=torch.stack([orthonormal(seed + 10 + index, m, r) for index in range(n)]),
        variances=normal(seed + 4, n, r).square(),
        noise=0.02 + 0.05 * normal(seed + 5, n).square(),
        outside=0.01 + 0.02 * normal(seed + 6, n).square(),
        log_weights=(weights / weights.sum()).log(),
    )
