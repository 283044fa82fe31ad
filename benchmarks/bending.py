"""What moves a result without changing predictions: networks changed on purpose, measured as everybody's are.

`python benchmarks/bending.py` takes ten minutes on one core and writes `docs/bending.csv`, of which `docs/generate.py`
makes the table of `docs/explanation/bending.md`; `--quick` makes few changes of one network, and prints.
"""

import argparse
import math
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

import pagbench
from pagbench import benchmarks, data, geometry, results
from pagbench.densities import scores
from pagbench.measures.calibration import Calibrated
from pagbench.models.controls import BayesClassifier
from pagbench.models.smoothing import SmoothedNetwork
from pagbench.running.runner import RunError

ROOT = Path(__file__).parent.parent
CSV = ROOT / "docs" / "bending.csv"
LABEL = "digits@2"
NETWORKS = ("digits/standard", "digits/noise-0.6", "digits/adversarial-0.8", "digits/gradient-norm-1")
_SMALL = 0.1
"""Of logits: by so much the class of another network wins."""

Way = Callable[..., Tensor]
"""Images and networks → logits."""


class Bent(nn.Module):
    """Networks and what is made of them.

    Args:
        way: called with the images and the networks.
        networks: the changed one, and others.
    """

    def __init__(self, way: Way, *networks: nn.Module) -> None:
        super().__init__()
        self.way, self.networks = way, nn.ModuleList(networks)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.way(x, *self.networks)


class Known:
    """What changes are made of: the benchmark's images and density, and another published network.

    Args:
        label: of the benchmark.
        network: that is changed.
    """

    def __init__(self, label: str, network: str) -> None:
        self.benchmark = benchmarks.load(label)
        self.splits = data.splits(self.benchmark)
        self.name, self.network = network, pagbench.load_model(network, label)
        self.other = pagbench.load_model(NETWORKS[1] if network == NETWORKS[2] else NETWORKS[2], label)
        self.density = scores.load_mixture(self.benchmark, self.splits.train)
        self.bayes = BayesClassifier(self.density, self.benchmark.sigma)

    @property
    def images(self) -> Tensor:
        """Those that are measured, shape (n, c, h, w)."""
        return self.splits.test.images

    @cached_property
    def tangents(self) -> Tensor:
        """The leading directions at each of them, shape (n, d, k)."""
        manifold, sigma = self.benchmark.manifold, self.benchmark.sigma
        assert manifold is not None
        return self.density.posterior_eigenvectors(self.images, sigma, manifold.rank)[1].float()

    @cached_property
    def targets(self) -> Tensor:
        """Unit directions of the targets, shape (n, d, 1)."""
        target = self.density.log_odds_gradient(self.images, self.benchmark.sigma, self.splits.test.labels)
        return nn.functional.normalize(target.flatten(1), dim=1)[:, :, None].float()

    def principal(self, rank: int) -> tuple[Tensor, Tensor]:
        """Mean and leading directions of the training images, shapes (d,) and (d, rank)."""
        flat = self.splits.train.images.flatten(1)
        centre = flat.mean(0)
        return centre, torch.linalg.svd(flat - centre, full_matrices=False).Vh[:rank].T


class Change(NamedTuple):
    """A change of a network.

    Attributes:
        part: what kind of change it is.
        name: in a few words.
        make: the changed network.
        everywhere: whether all networks are changed so, not the first one alone.
    """

    part: str
    name: str
    make: Callable[[Known], nn.Module]
    everywhere: bool = False


def centred(logits: Tensor) -> Tensor:
    """Logits without what the classes share."""
    return logits - logits.mean(1, keepdim=True)


def winner(logits: Tensor) -> Tensor:
    """1 at the largest logit, else 0."""
    return nn.functional.one_hot(logits.argmax(1), logits.shape[1]).to(logits)


def margin(logits: Tensor) -> Tensor:
    """The largest logit less the next one, shape (b, 1)."""
    first, second = logits.topk(2, dim=1).values.unbind(1)
    return (first - second)[:, None]


def on_logits(way: Callable[[Tensor], Tensor]) -> Callable[[Known], nn.Module]:
    """A function of the logits alone."""
    return lambda known: Bent(lambda x, network: way(centred(network(x))), known.network)


def before(way: Callable[[Known], Callable[[Tensor], Tensor]]) -> Callable[[Known], nn.Module]:
    """A function of the image before the network sees it."""

    def make(known: Known) -> nn.Module:
        changed = way(known)
        return Bent(lambda x, network: network(changed(x)), known.network)

    return make


def beside(way: Way, other: Callable[[Known], nn.Module]) -> Callable[[Known], nn.Module]:
    """A function of the network's centred logits and those of another one."""
    return lambda known: Bent(
        lambda x, network, second: way(centred(network(x)), centred(second(x))), known.network, other(known)
    )


def of_other(known: Known) -> nn.Module:
    """Another published network."""
    return known.other


def of_bayes(known: Known) -> nn.Module:
    """The Bayes classifier of the benchmark's density."""
    return known.bayes


def forced(own: Tensor, other: Tensor) -> Tensor:
    """The other's logits; where its class is another one, the own class is lifted by a constant until it wins."""
    chosen = winner(own)
    missing = (other.amax(1, keepdim=True) - (other * chosen).sum(1, keepdim=True)).detach()
    return other + chosen * (missing + _SMALL * (missing > 0))


def weighed(own: Tensor, other: Tensor) -> Tensor:
    """The own logits, the larger the surer the other is of the own class."""
    return own * (1 + geometry.log_odds(other, own.argmax(1)).relu())[:, None]


def sawtooth(own: Tensor, other: Tensor, *, steepness: float = 3.0, height: float = 4.0) -> Tensor:
    """The own logits and teeth with the other's slope, too low to change the class."""
    teeth = torch.remainder(steepness * other, height)
    return own + teeth + height * winner(own)


def surrogate(own: Tensor, other: Tensor) -> Tensor:
    """The own logits with the other's gradient."""
    return own.detach() + other - other.detach()


class Turned(torch.autograd.Function):
    """A network whose gradient is turned towards another's, and as long as its derivative in that direction is."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, network: nn.Module, other: nn.Module, angle: float) -> Tensor:
        """The network's logits."""
        ctx.save_for_backward(x)
        ctx.networks, ctx.angle = (network, other), angle
        with torch.no_grad():
            logits: Tensor = network(x)
        return logits

    @staticmethod
    def backward(ctx: Any, *output: Tensor) -> tuple[Tensor, None, None, None]:
        """Turned by the angle, or less where the other is nearer."""
        (x,) = ctx.saved_tensors
        with torch.enable_grad():
            own, other = (
                torch.autograd.grad(network(at), at, output[0])[0].flatten(1)
                for network, at in ((part, x.detach().requires_grad_()) for part in ctx.networks)
            )
        first = nn.functional.normalize(own, dim=1)
        across = nn.functional.normalize(other - (other * first).sum(1, keepdim=True) * first, dim=1)
        turned = math.cos(ctx.angle) * first + math.sin(ctx.angle) * across
        return (own.norm(dim=1, keepdim=True) * math.cos(ctx.angle) * turned).reshape(x.shape), None, None, None


def turned(degrees: float) -> Callable[[Known], nn.Module]:
    """The network with a gradient that is turned towards the Bayes classifier's."""
    angle = math.radians(degrees)
    return lambda known: Bent(lambda x, *both: Turned.apply(x, *both, angle), known.network, known.bayes)


def onto_principal(rank: int) -> Callable[[Known], Callable[[Tensor], Tensor]]:
    """Projection onto the leading directions of the training images."""

    def way(known: Known) -> Callable[[Tensor], Tensor]:
        centre, basis = known.principal(rank)
        return lambda x: ((x.flatten(1) - centre.to(x)) @ (basis @ basis.T).to(x) + centre.to(x)).reshape(x.shape)

    return way


def blurred(sigma: float) -> Callable[[Known], Callable[[Tensor], Tensor]]:
    """A Gaussian blur."""
    at = torch.arange(-2, 3)
    line = torch.exp(-(at**2) / (2 * sigma**2))
    kernel = torch.outer(line, line)[None, None] / line.sum() ** 2
    return lambda known: (
        lambda x: nn.functional.conv2d(nn.functional.pad(x, (2, 2, 2, 2), mode="replicate"), kernel.to(x))
    )


def denoised(sigma: float, *, only_back: bool = False) -> Callable[[Known], Callable[[Tensor], Tensor]]:
    """The density's denoiser D(x), or x itself with D's derivative."""

    def way(known: Known) -> Callable[[Tensor], Tensor]:
        def denoise(x: Tensor) -> Tensor:
            found = x + sigma**2 * known.density.score(x, sigma).to(x)
            return x.detach() + found - found.detach() if only_back else found

        return denoise

    return way


def quantised(*, straight_through: bool) -> Callable[[Known], Callable[[Tensor], Tensor]]:
    """Grey levels of sixteenths, as the images themselves have."""

    def quantise(x: Tensor) -> Tensor:
        levels = (16 * x).round() / 16
        return x + (levels - x).detach() if straight_through else levels

    return lambda known: quantise


def around_measured(directions: Callable[[Known], Tensor]) -> Callable[[Known], Callable[[Tensor], Tensor]]:
    """Moves the image back to the nearest measured one in all but a few directions, which are stored with that one."""

    def way(known: Known) -> Callable[[Tensor], Tensor]:
        centres, bases = known.images.flatten(1), directions(known)

        def move(x: Tensor) -> Tensor:
            flat = x.flatten(1)
            nearest = torch.cdist(flat.detach().double(), centres.double()).argmin(1)
            centre, basis = centres[nearest].to(x), bases[nearest].to(x)
            kept = torch.einsum("bdk,bek,be->bd", basis, basis, flat - centre)
            return (centre + kept).reshape(x.shape)

        return move

    return way


def smoothed(sigma: float) -> Callable[[Known], nn.Module]:
    """Randomised smoothing with 64 draws."""
    return lambda known: SmoothedNetwork(
        known.network, known.benchmark.input_shape, sigma=sigma, samples=64, seed=known.benchmark.seed
    )


def scaled_along(known: Known) -> nn.Module:
    """Logits times exp(v·x), v a random unit vector."""
    drawn = torch.randn(known.images[0].numel(), generator=torch.Generator().manual_seed(0))
    direction = drawn / drawn.norm()
    return Bent(lambda x, network: network(x) * (x.flatten(1) @ direction.to(x)).exp()[:, None], known.network)


def at_cells(own: Tensor) -> Tensor:
    """The two largest logits; what is constant where the order of classes is, is taken from all others."""
    rest = torch.ones_like(own).scatter(1, own.topk(2, dim=1).indices, 0)
    return own - 20 * rest


LOGITS, CELLS, BACKWARD, INPUT, HONEST = (
    "function of the logits",
    "constant where the class is",
    "gradient of another function",
    "the image first",
    "to compare",
)
CHANGES = (
    Change(HONEST, "none", lambda known: Bent(lambda x, network: network(x), known.network), everywhere=True),
    Change(HONEST, "noise-averaged, sigma 0.25", smoothed(0.25)),
    Change(HONEST, "noise-averaged, sigma 0.5", smoothed(0.5)),
    Change(HONEST, "mean with another network's log-probabilities", beside(lambda z, w: (z + w) / 2, of_other)),
    Change(LOGITS, "10 z + c(x)", lambda it: Bent(lambda x, f: 10 * f(x) + x.sum((1, 2, 3))[:, None], it.network)),
    Change(LOGITS, "cube", on_logits(lambda z: z**3)),
    Change(LOGITS, "z/√(1 + |z|)", on_logits(lambda z: z / (1 + z.abs()).sqrt())),
    Change(LOGITS, "tanh(z/10)", on_logits(lambda z: (z / 10).tanh()), everywhere=True),
    Change(LOGITS, "softmax, as if logits", on_logits(lambda z: z.softmax(1))),
    Change(LOGITS, "times 1 + margin", on_logits(lambda z: z * (1 + margin(z)))),
    Change(LOGITS, "over 1 + margin", on_logits(lambda z: z / (1 + margin(z))), everywhere=True),
    Change(LOGITS, "times exp(v·x), v random", scaled_along),
    Change(
        LOGITS,
        "times 1 + another network's log-odds of that class, if above 0",
        beside(weighed, of_other),
        everywhere=True,
    ),
    Change(LOGITS, "times 1 + Bayes log-odds of that class, if above 0", beside(weighed, of_bayes)),
    Change(CELLS, "5 added to the largest", on_logits(lambda z: z + 5 * winner(z)), everywhere=True),
    Change(CELLS, "20 taken from all but the largest two", on_logits(at_cells)),
    Change(CELLS, "another network's logits, own class", beside(forced, of_other), everywhere=True),
    Change(CELLS, "Bayes logits, own class", beside(forced, of_bayes)),
    Change(CELLS, "teeth of another network's slope", beside(sawtooth, of_other)),
    Change(CELLS, "teeth of Bayes slope", beside(sawtooth, of_bayes)),
    Change(BACKWARD, "another network's", beside(surrogate, of_other), everywhere=True),
    Change(BACKWARD, "Bayes classifier's", beside(surrogate, of_bayes)),
    Change(BACKWARD, "turned by 2° to Bayes", turned(2)),
    Change(BACKWARD, "turned by 5° to Bayes", turned(5), everywhere=True),
    Change(BACKWARD, "turned by 10° to Bayes", turned(10)),
    Change(BACKWARD, "turned by 20° to Bayes", turned(20)),
    Change(BACKWARD, "back through D(x), forward without", before(denoised(0.35, only_back=True))),
    Change(BACKWARD, "grey levels, straight through", before(quantised(straight_through=True))),
    Change(INPUT, "grey levels", before(quantised(straight_through=False))),
    *(
        Change(INPUT, f"onto {rank} principal directions", before(onto_principal(rank)), everywhere=rank == 16)
        for rank in (32, 24, 16, 8)
    ),
    *(Change(INPUT, f"blur of {sigma:g} pixels", before(blurred(sigma))) for sigma in (0.4, 0.6, 0.8)),
    *(
        Change(INPUT, f"denoiser D(x), sigma {sigma:g}", before(denoised(sigma)), everywhere=sigma == 0.35)
        for sigma in (0.18, 0.35)
    ),
    Change(INPUT, "onto tangents at measured images", before(around_measured(lambda known: known.tangents))),
    Change(
        INPUT,
        "onto the target at measured images",
        before(around_measured(lambda known: known.targets)),
        everywhere=True,
    ),
)

COLUMNS = (
    "network", "part", "change", "agreement", "accuracy", "nll", "temperature", "alignment_cosine_corrected",
    "alignment_peak", "alignment_peak_sigma", "alignment_lpips", "tangent_energy", "on_response", "off_response",
    "log_ratio", "place", "unfaithful", "along_target", "preflight", "same_as", "status",
)  # fmt: skip


@torch.no_grad()
def agreement(network: nn.Module, known: Known) -> float:
    """Share of the measured images on which a network says what the unchanged one does."""
    return float((network(known.images).argmax(1) == known.network(known.images).argmax(1)).double().mean())


def along_target(network: nn.Module, known: Known, temperature: float) -> float:
    """Share of the images whose cosine with the target is another one by central differences, by more than .05.

    The steps are those of `gradient_faithful`, along the target. No published column has this.
    """
    classifier, (images, labels) = Calibrated(network, temperature), (known.images, known.splits.test.labels)
    gradient = geometry.log_odds_gradient(classifier, images, labels).gradient.flatten(1)
    norm = gradient.norm(dim=1, keepdim=True)
    lengths = (0.1 / norm).clamp(max=1e-2)
    steps = known.targets.mT * lengths[..., None]
    predicted, found = geometry.log_odds_changes(classifier, images, labels, gradient, steps)
    return float(((predicted - found).abs() > 0.05 * 2 * lengths * norm).double().mean())


def measure(known: Known, folder: Path, *, every: bool) -> Iterator[dict[str, Any]]:
    """A row for each change, measured through the harness and put on the published board.

    Args:
        known: the network, and what it is changed with.
        folder: keeps what is measured; what is there already is not measured again.
        every: all changes, or those of all networks.
    """
    changes = {f"bent/{index:02d}": change for index, change in enumerate(CHANGES) if every or change.everywhere}
    made = {name: change.make(known) for name, change in changes.items()}
    shutil.copytree(results.PUBLISHED / LABEL, folder / LABEL, dirs_exist_ok=True)
    refused: dict[str, str] = {}
    try:
        pagbench.run(made, benchmark=LABEL, results=folder, anchors=False, device="cpu", on_warning=lambda _: None)
    except RunError as error:
        refused = dict(line.split(": ", 1) for line in str(error).splitlines())
    rows = {result.name: result.rows for result in results.read_all(folder, known.benchmark)}
    board = pagbench.leaderboard(folder, benchmark=LABEL).set_index("model")
    published = board[(board["status"] == "ranked") & ~board.index.str.startswith("bent/")]["alignment"]
    for name, change in changes.items():
        row = {"network": known.name, "part": change.part, "change": change.name}
        row["agreement"] = agreement(made[name], known)
        if name in refused:
            yield row | {"status": f"refused: {refused[name]}"}
            continue
        row |= {column: board.loc[name, column] for column in COLUMNS if column in board}
        if row["status"] == "ranked":
            row["place"] = 1 + int((published > row["alignment_cosine_corrected"]).sum())
        row["unfaithful"] = float((rows[name]["gradient_faithful"] == 0).mean())
        row["along_target"] = along_target(made[name], known, row["temperature"])
        copies = re.search(r"outputs of ([^;]*)", str(row["same_as"]))
        row["same_as"] = " ".join(other for other in copies[1].split(", ") if "bent/" not in other) if copies else ""
        yield row


def main() -> None:
    """Measures, and writes the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, help="folder that keeps finished rows; a later run skips them")
    parser.add_argument("--quick", action="store_true", help="few changes of one network, and nothing is written")
    given = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as passing:
        for name in NETWORKS[: 1 if given.quick else None]:
            folder = (given.results or Path(passing)) / name.split("/")[1]
            found += measure(Known(LABEL, name), folder, every=name == NETWORKS[0] and not given.quick)
    table = pd.DataFrame(found, columns=COLUMNS)
    table.to_csv(sys.stdout if given.quick else CSV, index=False, float_format="%.4f", lineterminator="\n")


if __name__ == "__main__":
    main()
