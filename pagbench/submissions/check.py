"""Checks a submission from the outside in: nothing is opened before its name and size are right, nothing of it runs.

No torch in this process: weights are read, and the network is tried, in a sandbox.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from pagbench.benchmarks import Benchmark
from pagbench.cards import ModelCard, RemoteFile
from pagbench.cards.plain_yaml import read_yaml
from pagbench.errors import PagbenchError
from pagbench.models import registry, sources
from pagbench.ranking.recipes import recipe_of
from pagbench.results.agreement import SUBMITTED
from pagbench.storage import assets, downloads, mirrors
from pagbench.storage.files import sha256_of
from pagbench.storage.mirrors import MirrorError
from pagbench.submissions import folder, sandbox
from pagbench.submissions.findings import Finding, refused
from pagbench.submissions.folder import CARD, WEIGHTS_SUFFIX
from pagbench.submissions.sandbox import Limits, SandboxError

LIMITS = Limits()
_LARGEST_SIDE = 1024
"""Pixels."""
_MOST_DRAWS = 1_000
_REQUIRED = {
    "authors": f"every submission says it: add it to {CARD}",
    "dataset": f"every submission says it: add it to {CARD}",
    "license": "say under which licence the weights may be used, as in MIT",
    "trained_on": "say which images it was trained on: `train`, the benchmark's training split alone; `other`, none of "
    "them measured; `measured`, measured ones may be among them; `unknown`",
}
"""What a card of others may leave out, and what to write there."""
_LONGEST_ID = 100
_RESERVED = ("control", "data", "huggingface", "local", "own", "results", "smoothed", "submissions", "torch", "trained")
"""First parts of ids that mean something else: to pagbench, or in its cache folder."""
_DEVICES = {"con", "prn", "aux", "nul"} | {f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10)}
_NETWORK = "pagbench.submissions.check_network"
_LOOKALIKES = str.maketrans({"0": "o", "1": "l", "i": "l", "5": "s", "_": "-", ".": "-"})


def check(root: Path, leaderboard: Path, *, benchmark: str | None = None, limits: Limits = LIMITS) -> Iterator[Finding]:
    """Findings about a submission, as they are made; those after an error that bars the way are not made.

    Args:
        root: the submission's folder.
        leaderboard: the folder that it is for, whose ids are taken.
        benchmark: the one that it is for; by default its card's data set.
        limits: of the process that reads the weights and tries the network.
    """
    findings = list(check_outside(root, leaderboard, benchmark))
    yield from findings
    if not refused(findings):
        yield from check_inside(root, benchmark, limits)


def check_outside(root: Path, leaderboard: Path, benchmark: str | None) -> Iterator[Finding]:
    """What can be said without opening more than the card."""
    findings = list(folder.check_files(root))
    yield from findings
    if refused(findings):
        return
    try:
        card = folder.read_card(root)
        definition = folder.benchmark_of(card, benchmark)
    except PagbenchError as error:
        for line in str(error).splitlines():
            yield Finding("error", CARD, line.removeprefix(f"{root / CARD}: "))
        return
    findings = [
        *check_card(card),
        *_check_home(root, leaderboard, card, definition),
        *check_fit(card, definition),
        *check_recipe(card, leaderboard, definition),
    ]
    yield from findings
    if not refused(findings):  # the card says which files are known
        yield from folder.check_names(root, card)


def check_inside(root: Path, benchmark: str | None, limits: Limits) -> Iterator[Finding]:
    """What the sandbox finds in the files, once what lies behind a link is here."""
    card = folder.read_card(root)
    if not sandbox.COMPLETE:
        yield Finding("warning", "sandbox", "only time is limited on this system; check it again on Linux")
    yield from _run_sandbox("examine", root, card, folder.benchmark_of(card, benchmark).label, limits=limits)


def check_weights(root: Path, limits: Limits = LIMITS) -> Iterator[Finding]:
    """Whether a submission's weights may be loaded at all: its files, its card, and the weights in a sandbox.

    What comes after that, as in a rerun, is a network of a known library, without limits of time and memory.
    """
    findings = list(folder.check_files(root))
    if not refused(findings):
        card = folder.read_card(root)
        findings += [*check_card(card), *folder.check_names(root, card)]
    yield from findings
    if not refused(findings):
        yield from _run_sandbox("read_weights", root, card, limits=limits)


def _run_sandbox(function: str, root: Path, card: ModelCard, *arguments: str, limits: Limits) -> Iterator[Finding]:
    """What a function of `check_network` finds in the sandbox, once what lies behind a link is here."""
    try:
        if folder.has_weights(card, root):
            for file in card.download or ():
                yield Finding("ok", "download", f"fetched to {downloads.get(file, seconds=limits.seconds)}")
            path = folder.weights_path(card, root)
            digest, expected = sha256_of(path), folder.pinned_sha256(card)
            if digest != expected:
                message = f"sha256 {digest[:12]}…, the card says {str(expected)[:12]}…; correct the card or the file"
                yield Finding("error", path.name, message)
                return
        else:
            yield Finding("warning", "weights", "under embargo: neither they nor the network are tried")
        for fields in sandbox.run(f"{_NETWORK}:{function}", str(root.resolve()), *arguments, limits=limits):
            yield Finding(**fields)
    except SandboxError as error:
        yield Finding("error", "network", f"{error} while it was tried; a submission must be tried within these limits")
    except PagbenchError as error:
        yield Finding("error", "download", str(error))
    except OSError as error:  # it has changed meanwhile
        yield Finding("error", "weights", f"cannot be read ({error.strerror or error}); put the file there")


def _check_home(root: Path, leaderboard: Path, card: ModelCard, benchmark: Benchmark) -> Iterator[Finding]:
    """Whether its id is free; or its own, where it lies in the leaderboard already."""
    leaderboard = leaderboard.absolute()
    home, target = leaderboard / "submissions", folder.home_of(leaderboard, benchmark, card)
    if root.absolute() != target and root.absolute().is_relative_to(home):
        message = f"{card.id!r} on {benchmark.label} belongs in {target.relative_to(home)}; `pagbench submit add`"
        yield Finding("error", "id", message)
    else:
        yield from check_id(card, leaderboard, target, own=root.absolute() == target)
    if root.absolute() == target and card.embargo and folder.has_weights(card, root):
        yield Finding(
            "error", "embargo", "the weights lie in the leaderboard for all to see: take them or `embargo` out"
        )


def check_recipe(card: ModelCard, leaderboard: Path, benchmark: Benchmark) -> Iterator[Finding]:
    """Whether a network is a further seed of a recipe, and whose; nobody joins that of others."""
    own = recipe_of(card, SUBMITTED)
    if own is None or benchmark.ranking != "recipes":
        return
    beside = registry.submitted(leaderboard)
    home = folder.home_of(leaderboard, benchmark, card).parent.parent
    paths = {name: path for name, found in beside.items() for path in found if path.is_relative_to(home)}
    submitted = {name: ModelCard.parse(read_yaml(path), str(path)) for name, path in paths.items() if name != card.id}
    joined = {name: other for name, other in submitted.items() if recipe_of(other, SUBMITTED) == own}
    published = {name: registry.find(name).card for name in registry.shipped()}
    alike = {
        name: other
        for name, other in (published | submitted).items()
        if name not in joined
        and (recipe := recipe_of(other, SUBMITTED)) is not None
        and recipe.training == own.training
    }
    if same := [name for name, other in joined.items() if other.seed == card.seed]:
        yield Finding("warning", "recipe", f"{same[0]} is its recipe's network of training seed {card.seed}; no rank")
    elif joined:
        message = f"a further seed of the recipe of {', '.join(joined)}: they have one row, their mean"
        yield Finding("warning", "recipe", f"{message}; only {own.authors or 'their authors'} may add to it")
    if alike:
        name, other = next(iter(alike.items()))
        message = (
            f"trained as {name} of {other.authors or 'others'}, whose row nobody else joins; it has a row of its own"
        )
        yield Finding("ok", "recipe", message)


def check_fit(card: ModelCard, benchmark: Benchmark) -> Iterator[Finding]:
    """Whether a card's network fits a benchmark: shapes, classes, data set."""
    if card.classes is not None and card.classes != benchmark.classes:
        yield Finding("error", "classes", f"{card.classes}, {benchmark.label} has {benchmark.classes}")
    if card.input_shape is not None and card.input_shape != benchmark.input_shape and card.resize is None:
        message = f"{card.input_shape}, {benchmark.label} has {benchmark.input_shape}; or let `resize` adapt them"
        yield Finding("error", "input_shape", message)
    judge = assets.judge(benchmark.data_name)
    if judge is not None and card.weights_sha256 == read_yaml(judge)["weights_sha256"]:
        yield Finding("error", "weights", "those of the network that judges what gradients make; it is no model")
    if card.dataset != benchmark.data_name:
        message = f"trained on {card.dataset!r}, {benchmark.label} is for networks of {benchmark.data_name!r}"
        yield Finding("warning", "dataset", f"{message}; a reader will wonder")
    if benchmark.by_paper:
        message = f"{benchmark.label} ranks by the gradient of one logit, which a term added to all logits changes"
        yield Finding("warning", "benchmark", message)


# The card beyond its schema: what a submission must say, and where its weights are. Nothing is fetched.


def check_card(card: ModelCard) -> Iterator[Finding]:
    """What is wrong with a card that is valid by itself."""
    for name, what in _REQUIRED.items():
        if not getattr(card, name):
            yield _error(name, f"is missing; {what}")
    if card.trained_on == "measured":
        yield Finding("warning", "trained_on", "images that are measured may be among them: it takes no rank")
    if card.loader != "checkpoint":
        advice = "for a network of timm or torchvision say `architecture: timm/<name>` or `torchvision/<name>`"
        yield _error("loader", f"{card.loader!r}, expected 'checkpoint'; {advice}")
    if card.date is not None and card.date > latest_day():
        yield _error("date", f"{card.date} lies in the future; say when the model was published or is submitted")
    if card.embargo:
        message = (
            "the weights are kept back: the results are marked, and nobody else can verify them until it is lifted"
        )
        yield Finding("ok", "embargo", message)
    if not card.reference:
        yield Finding("warning", "reference", "none is named; a paper or a page helps readers")
    if card.input_shape and max(card.input_shape) > _LARGEST_SIDE:
        yield _error("input_shape", f"{card.input_shape}, at most {_LARGEST_SIDE} each are measured")
    if card.smoothing and card.smoothing.samples > _MOST_DRAWS:
        yield _error("smoothing", f"{card.smoothing.samples} draws, at most {_MOST_DRAWS} are taken")
    if card.smoothing and card.smoothing.around:
        yield _error("smoothing", "`around` is not for a card to say; leave it out")
    yield from _check_weights_fields(card)
    if card.license:
        try:
            yield Finding("ok", "license", canonicalize_license_expression(card.license))
        except InvalidLicenseExpression:
            message = f"{card.license[:60]!r} is no SPDX expression (https://spdx.org/licenses)"
            yield Finding("warning", "license", message)


def latest_day() -> str:
    """Today where it is latest on Earth, so that a check elsewhere finds nobody's own today in the future."""
    return (datetime.now(UTC) + timedelta(hours=14)).date().isoformat()


def _check_weights_fields(card: ModelCard) -> Iterator[Finding]:
    if card.graph is not None:
        message = "the authors have written the forward pass: read the graph, for it may bend the gradient alone"
        yield Finding("warning", "architecture", message)
    if card.weights is not None and card.download is not None:
        yield _error("weights", "both weights and download are named; keep one")
    elif card.weights is not None:
        if "/" in card.weights or "\\" in card.weights or card.weights.startswith("."):
            yield _error("weights", f"{card.weights!r}, expected the name of a file beside {CARD}")
        elif not card.weights.endswith(WEIGHTS_SUFFIX):
            advice = "`pagbench submit init` converts a state dict"
            yield _error("weights", f"{card.weights!r}, expected a file ending in {WEIGHTS_SUFFIX}; {advice}")
        if card.weights_sha256 is None:
            yield _error("weights_sha256", "is missing; add what `sha256sum` says of the weights")
    for file in card.download or ():
        yield from _check_link(file, card)


def _check_link(file: RemoteFile, card: ModelCard) -> Iterator[Finding]:
    if file.also or file.archive is not None:
        yield _error("download", "`also` and `archive` are not for a submission; name mirrors of the file itself")
    if not file.path.startswith(f"{card.id}/") or not file.path.endswith(WEIGHTS_SUFFIX):
        yield _error("download", f"path {file.path!r}, expected {card.id}/<file>, ending in {WEIGHTS_SUFFIX}")
    if file.sha256 is None or file.size is None:
        yield _error("download", "needs sha256 and size of the file; without them the link is not pinned")
    elif file.size > folder.WEIGHTS_LINKED:
        yield _error("download", f"{file.size} bytes, at most {folder.WEIGHTS_LINKED} are fetched")
    if card.weights_sha256 not in (None, file.sha256):
        yield _error("weights_sha256", "is not the sha256 in download; leave it out")
    expected = "https://<public host>/…, hf:<owner>/<name>@<revision>/… or gdrive:<id>"
    if not file.mirrors:
        yield _error("download", f"mirrors must be {expected}; there are none")
    for mirror in file.mirrors:
        try:
            mirrors.check_published(mirror)
        except MirrorError as error:
            yield _error("download", f"mirrors must be {expected}; {mirror[:100]!a}: {error}")


# The id: no other looks like it to a reader, to a file system, or to pagbench.


def check_id(card: ModelCard, leaderboard: Path, target: Path, *, own: bool = False) -> Iterator[Finding]:
    """What is wrong with a card's id.

    Args:
        card: the submission's.
        leaderboard: whose ids are taken.
        target: the folder in the leaderboard that it belongs in.
        own: whether it lies there already.
    """
    parts = card.id.split("/")
    if len(parts) != 2 or len(card.id) > _LONGEST_ID:
        message = f"{card.id!r}: expected <data set or group>/<name>, at most {_LONGEST_ID} characters"
        yield _error("id", message)
        return
    if parts[0].lower() in {*_RESERVED, *sources.SOURCES} or parts[0].lower().startswith("smoothed-"):
        message = f"{card.id!r}: ids that begin with {parts[0]!r} are reserved; begin it with its data set"
        yield _error("id", message)
    if any(part.partition(".")[0].lower() in _DEVICES or part.endswith(".") for part in parts):
        yield _error("id", f"{card.id!r}: not every system can have a file of that name; choose another")
    others, shipped = registry.submitted(leaderboard), registry.shipped()
    before = [path for path in others.pop(card.id, []) if not (own and path.parent == target)]
    alike = (name for name in (*shipped, *others) if name != card.id and skeleton(name) == skeleton(card.id))
    if card.id in shipped:
        yield _error("id", f"{card.id!r} is the id of a published model; choose another")
    elif (other := next(alike, None)) is not None:
        yield _error("id", f"{card.id!r} can be mistaken for {other!r}; choose another")
    elif before:
        for path in before:
            yield _check_again(card, path, target)
    else:
        yield Finding("ok", "id", f"{card.id} is in its place" if own else f"{card.id} is free")


def skeleton(name: str) -> str:
    """What is left of an id where case and lookalikes do not count; two ids with the same one are confused.

    >>> skeleton("digits/Noise-0.1") == skeleton("digits/noise_O.l")
    True
    """
    return name.casefold().translate(_LOOKALIKES).replace("rn", "m").replace("vv", "w")


def _check_again(card: ModelCard, before: Path, target: Path) -> Finding:
    """An id that is in use: for an older version, or on another benchmark, where a reader takes it for this network."""
    other, label = ModelCard.parse(read_yaml(before), str(before)), before.parents[2].name
    if card.authors != other.authors:
        return _error("id", f"{card.id!r} is a submission of {other.authors}; choose another id")
    if (broken := broken_embargo(other, card)) is not None:
        return broken
    if before.parent == target:
        return Finding("ok", "id", f"{card.id} is submitted already by the same authors: this is an update")
    if card.functional_hash() != other.functional_hash():
        return Finding("warning", "id", f"{card.id} is another network on {label}; submit this one there too")
    return Finding("ok", "id", f"{card.id} is the same network on {label}, by the same authors")


def broken_embargo(before: ModelCard, after: ModelCard) -> Finding | None:
    """What is said of a network that is not the one that an embargo has committed to; None where it is."""
    committed = {"weights_sha256": before.weights_sha256, "graph_sha256": before.graph_sha256}
    named = {"weights_sha256": folder.pinned_sha256(after), "graph_sha256": after.graph_sha256}
    for field, digest in committed.items():
        if before.embargo and named[field] != digest:
            noun = field.removesuffix("_sha256")
            message = (
                f"names {noun} of sha256 {str(named[field])[:12]}…, and those under embargo have {str(digest)[:12]}…; "
                "publish these, or submit the others under another id"
            )
            return _error(field, message)
    return None


def _error(subject: str, message: str) -> Finding:
    return Finding("error", subject, message)
