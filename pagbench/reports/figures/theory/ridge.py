"""The ridge path with its three regimes."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pagbench.ranking import regimes
from pagbench.reports.figures.panels import TINTS
from pagbench.reports.figures.theory import frame
from pagbench.studies import legend
from pagbench.studies.theory.claims import Claim
from pagbench.studies.theory.ridge import DIMENSION, IMAGES, NOISE, RANK, REPEATS, VARIANCES, RidgePath


def draw(path: RidgePath, claims: Sequence[Claim]) -> Figure:
    """Squared gradients, alignment and risk, tangent energy, one below the other."""
    shown = (
        f"Linear regression on a flat manifold, k = {RANK} of d = {DIMENSION} dimensions, n = {IMAGES}, noise sₙ = "
        f"{NOISE:g} off it. Points: means over {REPEATS} samples; lines: closed forms. Shading: regime by the "
        "benchmarks' rule. Vertical: variance sₙ² off the manifold, least and largest variance l_k, l₁ on it."
    )
    figure, axes = frame.panels(shown, claims, (5.6,), (1.5, 1.5, 1.2))
    for axis in axes:
        _shade(axis, path, named=axis is axes[0])
        axis.set_xscale("log")
        axis.set_xlim(path.strengths[0], path.strengths[-1])
        axis.tick_params(labelbottom=axis is axes[-1])
    _line(axes[0], path, path.found.on.mean(0), path.expected.on, "‖Pw‖², on the manifold", frame.GREEN, "^")
    _line(axes[0], path, path.found.off.mean(0), path.expected.off, "‖Pₙw‖², off the manifold", frame.ORANGE, "v")
    axes[0].set_yscale("log")
    axes[0].set_ylabel("squared gradient", fontsize=7.5)
    frame.key(axes[0], "lower left")
    _line(axes[1], path, path.found.cosine.mean(0), path.expected.cosine, "alignment cos(w, w*)", frame.BLUE, "o")
    explained = 1 - path.found.excess.mean(0)
    _line(axes[1], path, explained, 1 - path.expected.excess, "1 - excess risk/Var y", frame.PURPLE, "D")
    for values, colour in ((path.found.cosine.mean(0), frame.BLUE), (explained, frame.PURPLE)):
        best = int(values.argmax())
        axes[1].plot(path.strengths[best], values[best], marker="o", ms=9, mfc="none", mec=colour, mew=1.2)
    axes[1].set_ylabel("alignment, risk (rings: best)", fontsize=7.5)
    frame.key(axes[1], "lower center", ncol=2)
    axes[1].set_ylim(-0.25, 1.1)
    axes[1].set_yticks([0, 0.5, 1])
    energy = path.expected.on / (path.expected.on + path.expected.off)
    _line(axes[2], path, path.tangent_energy.mean(0), energy, "tangent energy", frame.INK, "s")
    axes[2].axhline(RANK / DIMENSION, color=frame.INK, lw=0.8, ls=frame.DOTTED, label="k/d, random direction")
    axes[2].axvline(path.crossing, color=frame.ORANGE, lw=1.0, ls=frame.DASHED, label="predicted crossing")
    axes[2].set_ylabel("‖Pw‖²/‖w‖²", fontsize=7.5)
    axes[2].set_xlabel("strength λ of the penalty λ‖w‖²", fontsize=7.5)
    axes[2].set_ylim(-0.05, 1.08)
    frame.key(axes[2], "center right")
    return figure


def _line(
    axis: Any, path: RidgePath, found: np.ndarray, expected: np.ndarray, name: str, colour: str, marker: str
) -> None:
    axis.plot(path.strengths, expected, color=colour, lw=1.2, zorder=2)
    axis.plot(path.strengths, found, color=colour, marker=marker, mfc="white", ms=3.4, ls="none", label=name, zorder=3)


def _shade(axis: Any, path: RidgePath, *, named: bool) -> None:
    steps = np.log(path.strengths)
    edges = np.exp(np.concatenate([steps[:1], (steps[1:] + steps[:-1]) / 2, steps[-1:]]))
    position = 0
    for label, run in groupby(np.median(path.regimes, axis=1)):
        left, right = edges[position], edges[position := position + len(list(run))]
        regime = regimes.REGIMES[int(label)]
        axis.axvspan(left, right, facecolor=TINTS[regime], lw=0, zorder=0)
        axis.axvline(right, color=frame.INK, lw=0.8, zorder=1)
        if named:
            middle = np.sqrt(left * right)
            axis.text(
                middle, 1.03, legend.REGIMES[regime], transform=axis.get_xaxis_transform(), ha="center", fontsize=7.5
            )
    for value, name in ((NOISE**2, "sₙ²"), (VARIANCES.min(), "l_k "), (VARIANCES.max(), " l₁")):
        axis.axvline(value, color="#888888", lw=0.6, ls=frame.DOTTED, zorder=1)
        if named:
            side = {"l_k ": "right", " l₁": "left"}.get(name, "center")
            axis.text(value, 1.13, name, transform=axis.get_xaxis_transform(), ha=side, fontsize=7)
