"""Pages: a template, what it shows, and where it lies; every value that a template prints is escaped."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from latex2mathml.converter import convert
from markupsafe import Markup, escape

import pagbench

_ABSENT = "–"
_ADDRESS = re.compile(r"(https?://[^\s<>\"']+[^\s<>\"'.,;:)])")


@dataclass(frozen=True)
class Page:
    """One HTML file of the site.

    Attributes:
        path: below the site's folder, as in `models/digits/standard.html`.
        template: its name in `templates/`.
        title: of the page, in a few words.
        content: what the template shows, by name.
    """

    path: str
    template: str
    title: str
    content: Mapping[str, Any] = field(default_factory=dict)


def render(page: Page, measured: str = "") -> str:
    """The page as HTML. Links of templates begin with `root`, the way from the page to the site's folder.

    Args:
        page: what to show.
        measured: day of the newest measurement, for the foot of the page; empty where none is known.
    """
    around = {"path": page.path, "root": "../" * page.path.count("/"), "title": page.title}
    template = _environment().get_template(page.template)
    return template.render(**page.content, **around, measured=measured, version=pagbench.__version__)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pagbench.reports.site"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "number": number,
        "embedded": embedded,
        "address": address,
        "prose": prose,
        "math": math_markup,
        "linked": linked,
        "fragment": fragment,
    }
    return environment


def address(path: str) -> str:
    """A path as the address of a link; `@`, `/` and `+` stay readable.

    >>> address("models/a b/<c>.html")
    'models/a%20b/%3Cc%3E.html'
    """
    return quote(path, safe="/@+")


def fragment(text: str) -> str:
    """Text as JavaScript's encodeURIComponent writes it, for what comes after the `#` of a link.

    >>> fragment("digits/noise-0.6")
    'digits%2Fnoise-0.6'
    """
    return quote(text, safe="!'()*~")


def linked(text: str) -> Markup:
    """Text of others, its http and https addresses as links; nothing else becomes one.

    >>> linked("<b> javascript:alert(1) https://example.org/a.")
    Markup('&lt;b&gt; javascript:alert(1) <a href="https://example.org/a" rel="noopener noreferrer">https://example.org/a</a>.')
    """
    link = Markup('<a href="{0}" rel="noopener noreferrer">{0}</a>').format
    parts = _ADDRESS.split(text)
    return Markup("").join(link(part) if index % 2 else part for index, part in enumerate(parts))


def number(value: float | None, digits: int = 3) -> str:
    """A number for people; a dash where there is none.

    >>> number(0.12345), number(None), number(float("nan"))
    ('0.123', '–', '–')
    """
    return _ABSENT if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def prose(text: str) -> Markup:
    """Text with what stands between backticks as code, and arXiv's numbers as links.

    >>> prose("`a` < b")
    Markup('<code>a</code> &lt; b')
    """
    safe = str(escape(text))
    safe = re.sub(r"`([^`]*)`", r"<code>\1</code>", safe)
    return Markup(re.sub(r"arXiv (\d{4}\.\d{4,5})", r'<a href="https://arxiv.org/abs/\1">arXiv \1</a>', safe))


def math_markup(formula: str, display: Literal["inline", "block"] = "inline") -> Markup:
    """A formula of a template, LaTeX, as MathML: a browser draws it without a script."""
    return Markup(convert(formula, display=display))


def embedded(value: Any) -> Markup:
    r"""JSON that can stand inside a `<script type="application/json">`: no character of it can end the element.

    >>> embedded({"title": "</script>"})
    Markup('{"title":"\\u003c/script\\u003e"}')
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)
