"""The first page: what the site is about, and on each benchmark whose gradients are the most aligned."""

from collections.abc import Sequence

from pagbench.site.rendering import Page
from pagbench.study import Study


def page(studies: Sequence[Study]) -> Page:
    """The page `index.html`."""
    return Page("index.html", "home.html.j2", "pagbench", {"studies": studies})
