"""How to cite a network, pagbench, and the paper whose theory it measures."""

import re

import pagbench
from pagbench.cards import ModelCard

TITLE = "pagbench: a benchmark for the input gradients of robust vision models"
AUTHORS = "The pagbench authors"


def text(card: ModelCard) -> str:
    """The network, where others made it or it has a reference; empty otherwise."""
    return f"{card.authors or card.id}, {card.title}. {card.reference or ''}".strip() if _foreign(card) else ""


def bibtex(card: ModelCard) -> str:
    """BibTeX entries of the network, likewise, of pagbench, and of the paper whose theory it measures."""
    network = {"title": card.title, "author": card.authors, "howpublished": card.reference, "note": card.id}
    entries = [_entry("misc", _key(card.id), network)] if _foreign(card) else []
    entries.append(_entry("software", "pagbench", {"title": TITLE, "author": AUTHORS, "version": pagbench.__version__}))
    return "\n\n".join([*entries, _THEORY_BIBTEX])


_THEORY_BIBTEX = """@inproceedings{srinivas2023gradients,
  title = {{Which Models Have Perceptually-Aligned Gradients? An Explanation via Off-Manifold Robustness}},
  author = {Srinivas, Suraj and Bordt, Sebastian and Lakkaraju, Himabindu},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2023},
  url = {https://arxiv.org/abs/2305.19101},
}"""


def _foreign(card: ModelCard) -> bool:
    """Whether a network has authors of its own, or a reference."""
    return bool(card.reference) or (card.authors is not None and card.authors != AUTHORS)


def _entry(kind: str, key: str, fields: dict[str, str | None]) -> str:
    lines = [f"  {name} = {{{{{_literal(value)}}}}}," for name, value in fields.items() if value]
    return "\n".join([f"@{kind}{{{key},", *lines, "}"])


def _literal(value: str) -> str:
    """Text that cannot end its field: what BibTeX and TeX read as commands is left out or escaped."""
    return re.sub(r"([%&#$_])", r"\\\1", re.sub(r"[{}\\^~\s]+", " ", value)).strip()


def _key(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name)
