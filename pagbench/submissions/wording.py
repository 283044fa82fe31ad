"""What a card says beyond its schema: text, licence, where the weights are. Nothing is opened or fetched."""

import unicodedata
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from pagbench.cards import ModelCard, RemoteFile
from pagbench.storage.downloads import mirrors
from pagbench.submissions import limits
from pagbench.submissions.findings import Finding
from pagbench.submissions.folder import CARD, WEIGHTS_SUFFIXES


def look(card: ModelCard) -> Iterator[Finding]:
    """What is wrong with a card that is valid by itself."""
    yield from text(card)
    yield from _required(card)
    yield from _sizes(card)
    yield from _weights(card)
    yield from _licence(card.license)


def text(card: ModelCard) -> Iterator[Finding]:
    """Strings that are too long to show, or hide something."""
    for name, value in _strings(card.model_dump(mode="json"), ""):
        if len(value) > limits.TEXT:
            yield _error(name, f"{len(value)} characters, at most {limits.TEXT} are shown; shorten it")
        hidden = [mark for mark in value if unicodedata.category(mark) in ("Cc", "Cf", "Co", "Cs", "Zl", "Zp")]
        if hidden:
            yield _error(name, f"holds the invisible character {hidden[0]!a}; remove it")


def _strings(value: Any, name: str) -> Iterator[tuple[str, str]]:
    """Every string in a card, keys too, with its place."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield f"{name} (a key)".strip(), key
            yield from _strings(item, f"{name}.{key}".lstrip("."))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _strings(item, f"{name}.{index}")


def _required(card: ModelCard) -> Iterator[Finding]:
    for name in ("authors", "dataset"):
        if not getattr(card, name):
            yield _error(name, f"is missing; every submission says it: add it to {CARD}")
    if card.loader != "checkpoint":
        yield _error(
            "loader",
            f"{card.loader!r}, expected 'checkpoint'; for a network of timm or torchvision say "
            "`architecture: timm/<name>` or `torchvision/<name>`",
        )
    if not card.reference:
        yield Finding("warning", "reference", "none is named; a paper or a page helps readers")


def _sizes(card: ModelCard) -> Iterator[Finding]:
    if card.input_shape and max(card.input_shape) > limits.SIDE:
        yield _error("input_shape", f"{card.input_shape}, at most {limits.SIDE} each are measured")
    if card.smoothing and card.smoothing.samples > limits.SMOOTHING_SAMPLES:
        yield _error("smoothing", f"{card.smoothing.samples} draws, at most {limits.SMOOTHING_SAMPLES} are taken")
    if card.smoothing and card.smoothing.around:
        yield _error("smoothing", "`around` is not for a card to say; leave it out")
    lengths = {len(values) for values in (card.mean, card.std) if values is not None}
    if card.input_shape and lengths - {1, card.input_shape[0]}:
        yield _error(
            "mean", f"mean and std of {lengths.pop()} values for {card.input_shape[0]} channels; give one each"
        )


def _weights(card: ModelCard) -> Iterator[Finding]:
    if card.weights is not None and card.download is not None:
        yield _error("weights", "both weights and download are named; keep one")
    elif card.weights is not None:
        if "/" in card.weights or "\\" in card.weights or card.weights.startswith("."):
            yield _error("weights", f"{card.weights!r}, expected the name of a file beside {CARD}")
        elif not card.weights.endswith(WEIGHTS_SUFFIXES):
            yield _error("weights", f"{card.weights!r}, expected a file ending in {', '.join(WEIGHTS_SUFFIXES)}")
        if card.weights_sha256 is None:
            yield _error("weights_sha256", "is missing; add what `sha256sum` says of the weights")
    for file in card.download or ():
        yield from _link(file, card)


def _link(file: RemoteFile, card: ModelCard) -> Iterator[Finding]:
    if file.also or file.archive is not None:
        yield _error("download", "`also` and `archive` are not for a submission; name mirrors of the file itself")
    if not file.path.startswith(f"{card.id}/") or not file.path.endswith(WEIGHTS_SUFFIXES):
        yield _error(
            "download", f"path {file.path!r}, expected {card.id}/<file>, ending in {WEIGHTS_SUFFIXES[0]} or .pt"
        )
    if file.sha256 is None or file.size is None:
        yield _error("download", "needs sha256 and size of the file; without them the link is not pinned")
    elif file.size > limits.WEIGHTS_LINKED:
        yield _error("download", f"{file.size} bytes, at most {limits.WEIGHTS_LINKED} are fetched")
    if card.weights_sha256 not in (None, file.sha256):
        yield _error("weights_sha256", "is not the sha256 in download; leave it out")
    if not file.mirrors or not all(map(_public, file.mirrors)):
        yield _error(
            "download", "mirrors must be https://<public host>/…, hf:<owner>/<name>@<revision>/… or gdrive:<id>"
        )


def _public(mirror: str) -> bool:
    """Whether a mirror is no service of the machine that fetches, or of its network."""
    if mirror.startswith(("hf:", "gdrive:")):
        return True
    try:
        return mirror.startswith("https://") and mirrors.is_public(urlsplit(mirror).hostname or "")
    except ValueError:
        return False


def _licence(licence: str | None) -> Iterator[Finding]:
    if not licence:
        yield _error("license", "is missing; say under which licence the weights may be used, as in MIT")
        return
    try:
        yield Finding("ok", "license", canonicalize_license_expression(licence))
    except InvalidLicenseExpression:
        yield Finding("warning", "license", f"{licence[:60]!r} is no SPDX expression (https://spdx.org/licenses)")


def _error(subject: str, message: str) -> Finding:
    return Finding("error", subject, message)
