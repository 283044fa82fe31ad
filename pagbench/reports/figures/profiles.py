"""At which blur a gradient is most like the Bayes classifier's: profiles over sigma, and where their peaks lie."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pagbench.benchmarks import validation
from pagbench.columns import sigma_name
from pagbench.ranking.profile import censored
from pagbench.reports.figures import canvas
from pagbench.studies import legend
from pagbench.studies.models import Study
from pagbench.studies.paths import Path, Point, origin

_CMAP = "viridis"
_LABEL = 6.0
"""From one label at the end of a line to the next, in points."""


def draw(study: Study, paths: Sequence[Path]) -> Figure:
    """For each family alignment against sigma at every strength; below, sigma* against strength and peak, accuracy."""
    columns = min(4, len(paths))
    rows = -(-len(paths) // columns)
    width, height = 0.7 + 2.3 * columns, 1.0 + 1.9 * rows + 3.6
    figure = Figure(figsize=(width, height))
    top = figure.add_gridspec(
        rows, columns, left=0.6 / width, right=1 - 0.1 / width, top=1 - 0.45 / height, bottom=3.9 / height,
        hspace=0.35, wspace=0.08,
    )  # fmt: skip
    start = origin(study, study.make)
    for index, path in enumerate(paths):
        axis = figure.add_subplot(top[index // columns, index % columns])
        _profiles(axis, study, path, start)
        axis.set_title(path.family, fontsize=8, loc="left")
        axis.tick_params(labelleft=index % columns == 0)
        if index % columns == 0:
            axis.set_ylabel("alignment", fontsize=7.5)
        axis.set_xlabel("sigma of the target (pixel units)", fontsize=7)
    below = figure.add_gridspec(
        1, 2, left=0.75 / width, right=1 - 1.5 / width, top=3.2 / height, bottom=0.95 / height, wspace=0.25
    )
    families = legend.family_colours([path.family for path in paths], study.standard)
    _peak_sigmas(figure.add_subplot(below[0]), study, paths, families)
    _peaks(figure.add_subplot(below[1]), study, paths, start, families)
    handles = [Line2D([], [], marker="o", color=colour, ms=4, label=name) for name, colour in families.items()]
    figure.legend(handles=handles, loc="upper right", bbox_to_anchor=(1, 3.2 / height), fontsize=7, frameon=False)
    canvas.write_caption(figure, caption(study))
    return figure


def caption(study: Study) -> str:
    """What is drawn."""
    return (
        f"{study.benchmark.label}, {' '.join(study.make)}. Above: alignment with the Bayes classifier of the data "
        "blurred by sigma, chance-corrected, light to dark by growing strength; dotted: no regularisation; grey: above "
        "the noise ceiling, where it is known; vertical: the benchmark's sigma, "
        f"{study.benchmark.sigma:g}. Below left: sigma*, at which alignment is largest, against strength; the diagonal "
        "is the training noise itself. At a triangle, an end of the sigmas, sigma* may lie beyond. Below right: the "
        "largest alignment against accuracy; lines follow the strength. Bars and bands: 95 %."
    )


def _grid(study: Study) -> list[float]:
    return list(study.benchmark.sigmas or ())


def _profile(part: Point, sigmas: Sequence[float]) -> np.ndarray:
    """Value and bounds at every sigma, shape (3, sigmas)."""
    return np.array([part.values[sigma_name("alignment_profile", sigma)] for sigma in sigmas]).T


def _profiles(axis: Any, study: Study, path: Path, start: Point | None) -> None:
    sigmas = _grid(study)
    shades = mpl.colormaps[_CMAP](np.linspace(0.9, 0.05, len(path.points)))
    found = validation.published(study.benchmark.label)
    if found is not None:
        known = {sigma: bound for sigma, bound in found.corrected_ceilings.items() if bound.value is not None}
        axis.fill_between(list(known), [bound.value for bound in known.values()], 1.05, color="#dddddd", lw=0, zorder=0)
    if start is not None:
        axis.plot(sigmas, _profile(start, sigmas)[0], color=legend.INK, lw=0.9, ls=":", zorder=2)
    for part, colour in zip(path.points, shades, strict=True):
        value, low, high = _profile(part, sigmas)
        axis.fill_between(sigmas, low, high, color=colour, alpha=0.2, lw=0, zorder=1)
        axis.plot(sigmas, value, color=colour, lw=1.1, marker="o", ms=2, zorder=3)
    axis.axvline(study.benchmark.sigma, color=canvas.GREY, lw=0.7, zorder=1)
    axis.set_xscale("log")
    canvas.plain_ticks(axis.xaxis, sigmas[::2])
    axis.set_ylim(-0.05, 1.05)
    axis.set_xlim(sigmas[0] * 0.9, sigmas[-1] * 1.8)
    _label_ends(axis, sigmas[-1], path)
    axis.tick_params(labelsize=6.5, width=0.5, length=2)


def _label_ends(axis: Any, sigma: float, path: Path) -> None:
    """The strength of each line beside its end, with a line to it; none lies on another."""
    low, high = axis.get_ylim()
    points = 72 * axis.figure.get_figheight() * axis.get_position().height / (high - low)
    ends = [part.values[sigma_name("alignment_profile", sigma)].value for part in path.points]
    for part, end, place in zip(path.points, ends, canvas.spread(ends, _LABEL / points), strict=True):
        axis.annotate(
            f"{part.strength:g}", (sigma, end), fontsize=5.5, xytext=(8, (place - end) * points), va="center_baseline",
            textcoords="offset points", arrowprops={"arrowstyle": "-", "lw": 0.3, "color": canvas.GREY, "shrinkB": 1.5},
        )  # fmt: skip


def _peak_sigmas(axis: Any, study: Study, paths: Sequence[Path], families: dict[str, str]) -> None:
    for path in paths:
        strengths = [part.strength for part in path.points]
        value, low, high = np.array([part.values["alignment_peak_sigma"] for part in path.points]).T
        is_noise = path.family in legend.NOISE_FAMILIES
        x = np.array(strengths) / (1 if is_noise else strengths[len(strengths) // 2])
        style = {"color": families[path.family], "marker": "o", "ms": 3, "lw": 1}
        if not is_noise:
            style |= {"ls": ":", "mfc": "white"}
        bounds = [censored(sigma, study.benchmark.sigmas) for sigma in value]
        errors = np.clip(np.nan_to_num([value - low, high - value]), 0, None)
        axis.errorbar(x, value, yerr=errors, elinewidth=0.6, **style)
        for end, marker in (("at least", "^"), ("at most", "v")):
            at = np.array([bound == end for bound in bounds])
            axis.plot(x[at], value[at], color=families[path.family], marker=marker, ms=5, ls="")
    ends = np.array([min(_grid(study)), max(_grid(study))])
    axis.plot(ends, ends, color=canvas.GREY, lw=0.8, ls="--", zorder=0)
    axis.axhline(study.benchmark.sigma, color=canvas.GREY, lw=0.7, zorder=0)
    axis.set_xscale("log")
    axis.set_yscale("log")
    canvas.plain_ticks(axis.yaxis, _grid(study)[::2])
    axis.set_xlabel("training noise std; dotted: strength over the family's middle one", fontsize=7)
    axis.set_ylabel("sigma*", fontsize=7.5)
    axis.tick_params(labelsize=6.5, width=0.5, length=2)


def _peaks(axis: Any, study: Study, paths: Sequence[Path], start: Point | None, families: dict[str, str]) -> None:
    for path in paths:
        points = [*([start] if start is not None else []), *path.points]
        x = np.array([part.values["accuracy"] for part in points])
        y = np.array([part.values["alignment_peak"] for part in points])
        axis.errorbar(
            x[:, 0], y[:, 0], xerr=np.clip([x[:, 0] - x[:, 1], x[:, 2] - x[:, 0]], 0, None),
            yerr=np.clip([y[:, 0] - y[:, 1], y[:, 2] - y[:, 0]], 0, None),
            color=families[path.family], marker="o", ms=3, lw=0.9, elinewidth=0.5,
        )  # fmt: skip
    axis.set_xlabel("accuracy", fontsize=7.5)
    axis.set_ylabel("alignment at sigma*", fontsize=7.5)
    axis.tick_params(labelsize=6.5, width=0.5, length=2)
