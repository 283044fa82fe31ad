"""Regimes have one set of colours, in the site and in figures, and text can be read on each."""

import re

import pytest

from pagbench.ranking.regimes import REGIMES
from pagbench.reports.figures import path_charts
from pagbench.reports.site import building
from pagbench.studies import legend

FILES = dict(building.assets())
CSS = {path: content.decode() for path, content in FILES.items() if path.endswith(".css")}


def properties(path):
    """Custom properties of a style sheet on light and on dark screens."""
    light, dark = CSS[path].split("prefers-color-scheme: dark")
    return [dict(re.findall(r"--([\w-]+): (#\w{6});", part)) for part in (light, dark)]


def luminance(colour):
    """Relative luminance of WCAG 2.2."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_the_site_and_figures_have_the_colours_of_the_legend():
    light, dark = properties("assets/colours.css")
    assert set(legend.REGIME_COLOURS) == set(REGIMES)
    for name, (on_light, on_dark) in legend.REGIME_COLOURS.items():
        assert light[f"regime-{name}"] == path_charts.TINTS[name] == on_light
        assert dark[f"regime-{name}"] == on_dark
    elsewhere = "".join(text for path, text in CSS.items() if path != "assets/colours.css").lower()
    scripts = "".join(text.decode() for path, text in FILES.items() if path.endswith(("plots.js", "plot-parts.js")))
    for colour in (colour for both in legend.REGIME_COLOURS.values() for colour in both):
        assert colour not in elsewhere and colour not in scripts.lower()


@pytest.mark.parametrize("scheme", [0, 1])
def test_text_can_be_read_on_every_regime(scheme):
    ground = properties("assets/site.css")[scheme]
    for colours in legend.REGIME_COLOURS.values():
        assert contrast(ground["text"], colours[scheme]) >= 4.5
        assert contrast(ground["quiet"], colours[scheme]) >= 4.5
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
