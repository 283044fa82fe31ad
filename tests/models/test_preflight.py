"""The pre-flight checks: each finds what it is for, alone, and honest networks pass them all."""

import shutil
import sys
import types

import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

import pagbench
from pagbench import results
from pagbench.cards import ModelCard
from pagbench.cli import app, listing
from pagbench.models import architectures, checks, factories, registry, sources
from pagbench.results.preflight import Preflight
from pagbench.running import session
from pagbench.running.runner import RunError

pytestmark = pytest.mark.usefixtures("few_resamples")

CPU = torch.device("cpu")


def examine(model, benchmark, name="net"):
    request = registry.resolve({name: model} if isinstance(model, nn.Module) else model, benchmark)[0]
    return checks.examine(request, benchmark, device=CPU, batch_size=64)


def verdicts(preflight, *kinds):
    return {check.name for check in preflight.checks if check.verdict in kinds}


class Around(nn.Module):
    """A network around a shipped one."""

    def __init__(self, base, forward):
        super().__init__()
        self.base = base
        self._forward = forward

    def forward(self, x):
        return self._forward(self.base, x)


class Doubled(torch.autograd.Function):
    """The identity, with a backward pass that is twice its own."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


def without_half_of_the_gradient(base, x):
    return base(torch.cat([x[..., :4].detach(), x[..., 4:]], dim=-1))


def straight_through(base, x):
    return base(x + ((8 * x).round() / 8 - x).detach())


def by_position(base, x):
    """Outputs that depend on an image's place in the batch, gradients that do not."""
    return base(x) + torch.linspace(0, 0.5, len(x))[:, None] * (torch.arange(10) == 0)


def alone_fails(base, x):
    if len(x) == 1:
        raise ValueError("Expected more than 1 value per channel when training")
    return base(x)


def nan_on_the_brightest(base, x):
    dark = x.flatten(1).mean(1, keepdim=True) < 0.4  # noise images are brighter than any digit
    return base(x) * torch.where(dark & (x.flatten(1).max(1, keepdim=True).values > 0.999), torch.nan, 1.0)


def refuses_what_are_no_pixels(base, x):
    if x.min() < -0.95 or x.max() > 1.95:
        raise ValueError("pixels must be in [0, 1]")
    return base(x)


def only_near_pixels(base, x):
    if x.min() < -0.1 or x.max() > 1.1:
        raise ValueError("pixels must be near [0, 1]")
    return base(x)


@pytest.mark.parametrize(
    ("forward", "verdict", "names"),
    [
        (lambda f, x: f(x * 255), "pass", set()),
        (refuses_what_are_no_pixels, "pass", set()),
        (straight_through, "flag", {"derivatives"}),
        (lambda f, x: f(Doubled.apply(x)), "flag", {"derivatives"}),
        (without_half_of_the_gradient, "flag", {"derivatives"}),
        (lambda f, x: f((8 * x).round() / 8), "flag", {"gradients"}),
        (lambda f, x: f(x * torch.tensor(1e-30)) + 0 * x.sum(), "flag", {"gradients", "accuracy"}),
        (by_position, "flag", {"batch"}),
        (alone_fails, "fail", {"batch"}),
        (lambda f, x: f(x / 255), "flag", {"range", "accuracy"}),
        (lambda f, x: f(nn.functional.dropout(x, 0.1)), "fail", {"determinism"}),
        (lambda f, x: f(x).softmax(1), "fail", {"output"}),
        (lambda f, x: f(x).log_softmax(1), "pass", set()),
        (lambda f, x: f(x) * torch.nan, "fail", {"output"}),
        (nan_on_the_brightest, "fail", {"finite"}),
        (lambda f, x: f(x).detach(), "fail", {"gradients"}),
        (only_near_pixels, "fail", {"steps"}),
        (lambda f, x: f(x) + (x + 0.1).flatten(1).amin(1, True).sqrt() * 0, "fail", {"steps"}),
        (lambda f, x: f(x)[:, :9], "fail", {"input"}),
        (lambda f, x: f(x.float()).to(x.dtype), "pass", set()),  # float32 inside
    ],
)
def test_each_check_finds_its_fault_and_no_other(digits, noise_trained, forward, verdict, names):
    found = examine(Around(noise_trained, forward), digits)
    assert (found.verdict, verdicts(found, "flag", "fail")) == (verdict, names), found.summary()
    assert all(check.advice for check in found.checks if check.verdict in ("flag", "fail"))


@pytest.mark.parametrize(
    ("forward", "verdict", "costs"),
    [
        (straight_through, "flag", True),
        (lambda f, x: f(Doubled.apply(x)), "flag", True),
        (without_half_of_the_gradient, "flag", True),
        (lambda f, x: straight_through(f, x.flip(3)), "flag", True),
        (lambda f, x: torch.where(x.flatten(1).mean(1, True) > 0.35, straight_through(f, x), f(x)), "flag", False),
        (lambda f, x: f(x), "pass", False),
    ],
)
def test_a_gradient_that_is_wrong_on_most_images_costs_the_rank(digits, noise_trained, forward, verdict, costs):
    found = examine(Around(noise_trained, forward), digits)
    check = next(check for check in found.checks if check.name == "derivatives")
    assert (check.verdict, check.kind == "foreign") == (verdict, costs)
    assert Preflight(checks=(check,)).costs_the_rank == costs


def test_batch_normalisation_without_running_statistics_depends_on_the_batch(digits, noise_trained):
    network = nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False), noise_trained)
    assert "batch" in verdicts(examine(network, digits), "flag")


@pytest.mark.parametrize(
    ("forward", "check", "found", "advice"),
    [
        (lambda f, x: f(x / 255), "range", "on images from 0 to 255", "mean [0.0], std [0.003922]"),
        (lambda f, x: f((x + 1) / 2), "range", "on images from -1 to 1", "mean [0.5], std [0.5]"),
        (lambda f, x: f(x * 0.37 + 0.31), "range", "normalised by their own mean and std", "mean [0.304"),
        (lambda f, x: f(2 * x - 1), "range", "mapped back as if they were from -1 to 1", "twice"),
        (lambda f, x: f(x.mT), "layout", "on images transposed", "inside it"),
        (lambda f, x: f(1 - x), "layout", "inverted", "inside it"),
        (lambda f, x: f(x.flip(2)), "layout", "upside down", "inside it"),
        (lambda f, x: f(x)[:, [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]], "classes", "shifted up by one", "another order?"),
        (lambda f, x: f(x).flip(1), "classes", "reversed", "another order?"),
        (lambda f, x: f(x)[:, [0, 1, 2, 4, 3, 5, 6, 7, 9, 8]], "classes", "fitted", "another order?"),
        (lambda f, x: -f(x), "classes", "of the smallest output", "negative"),
        (lambda f, x: f(x).amax(1, True) - f(x), "classes", "smallest", "losses"),
    ],
)
def test_what_a_network_was_trained_on_instead_is_named_and_costs_the_rank(digits, forward, check, found, advice):
    preflight = examine(Around(pagbench.load_model("digits/standard"), forward), digits)
    flagged = {one.name: one for one in preflight.flags}
    assert check in flagged, preflight.summary()
    assert found in flagged[check].found and advice in flagged[check].advice
    assert preflight.costs_the_rank


@pytest.mark.parametrize(
    ("forward", "fields", "found"),
    [
        (lambda f, x: f(x), {"mean": [0.5], "std": [0.25]}, "without the mean and std that it is given with"),
        (lambda f, x: f((x + 1) / 2), {"mean": [0.0], "std": [3.0]}, "from -1 to 1"),
        (lambda f, x: f((x + 3) / 4), {"mean": [0.5], "std": [0.5]}, "with its mean and std applied twice"),
    ],
)
def test_the_mean_and_std_that_a_function_gives_are_tried_without_and_twice_and_replaced(
    digits, monkeypatch, tmp_path, forward, fields, found
):
    built = Around(pagbench.load_model("digits/standard"), forward), fields
    monkeypatch.setattr(factories.Factory, "build", lambda _: built)
    (tmp_path / "net.py").touch()
    preflight = examine(f"{tmp_path}/net.py:make", digits)
    flagged = {check.name: check for check in preflight.flags}
    assert found in flagged["range"].found
    assert "let the function return" in flagged["range"].advice or "mean and std" in flagged["range"].advice


def test_honest_networks_pass(digits):
    torch.manual_seed(0)
    relu = architectures.build("small-resnet", digits.input_shape, digits.classes, "relu")
    relu.train()(torch.rand(64, *digits.input_shape))  # fresh normalisation puts dark pixels on the kink itself
    for network in [relu, *registry.models_of(digits)[::4], "digits/smoothing-0.6", "control/bayes"]:
        found = examine(network, digits)
        untrained = {"accuracy"} if network is relu else set()  # at chance
        assert verdicts(found, "flag", "fail") == untrained, (network, found.summary())


@pytest.mark.parametrize(("name", "flagged"), [("constant", "gradients"), ("sign-flipped", "derivatives")])
def test_controls_that_are_no_honest_networks_are_flagged(digits, name, flagged):
    assert verdicts(examine(f"control/{name}", digits), "flag", "fail") == {flagged}


@pytest.fixture
def card(tmp_path):
    """Writes a card with the weights of a shipped model, or untrained ones."""

    def write(published, *, trained=True, **changes):
        request = registry.find("digits/standard")
        shipped, path = request.card, request.path
        fields = yaml.safe_load(path.read_text()) | {"id": "mine/standard", "published_accuracy": published} | changes
        if trained:
            shutil.copy(path.parent / shipped.weights, tmp_path)
        else:
            network = architectures.build(shipped.architecture, shipped.input_shape, shipped.classes)
            save_file(network.state_dict(), tmp_path / shipped.weights)
            del fields["weights_sha256"]
        place = tmp_path / "standard.yaml"
        place.write_text(yaml.safe_dump(fields))
        return place

    return write


@pytest.mark.parametrize(
    ("published", "options", "verdict"),
    [
        (0.96, {}, "pass"),
        (0.85, {}, "flag"),
        (0.96, {"trained": False}, "flag"),
        (0.85, {"dataset": "mnist"}, "unknown"),
        (None, {}, "unknown"),
    ],
)
def test_accuracy_is_compared_with_the_published_one(digits, card, published, options, verdict):
    found = examine(card(published, **options), digits)
    assert {check.name: check.verdict for check in found.checks}["accuracy"] == verdict
    assert verdicts(found, "flag", "fail") == ({"accuracy"} if verdict == "flag" else set())


def test_accuracys_interval_is_clopper_and_pearsons(digits):
    """Against its definition: each end is the accuracy under which so extreme a count has half the error's chance."""
    from scipy.stats import binom

    (check,) = [check for check in examine("digits/standard", digits).checks if check.name == "accuracy"]
    share, low, high = (float(part) for part in check.found.replace("(", "").split() if part[0] == "0" or part == "1.0")
    right = round(share * checks.IMAGES)
    assert binom.sf(right - 1, checks.IMAGES, low) == pytest.approx(0.0005, rel=0.15)
    assert binom.cdf(right, checks.IMAGES, high) == pytest.approx(0.0005, rel=0.15)


@pytest.mark.parametrize("returns", ["logits", "probabilities", "log-probabilities"])
@pytest.mark.parametrize("declared", ["logits", "probabilities"])
def test_what_a_sources_network_returns_counts_and_not_what_its_card_says(
    digits, noise_trained, monkeypatch, returns, declared
):
    convert = {
        "logits": lambda z: z, "probabilities": lambda z: z.softmax(1), "log-probabilities": lambda z: z.log_softmax(1)
    }[returns]  # fmt: skip
    fields = {
        "id": "zoo/net", "title": "", "family": "own", "loader": "source", "input_shape": digits.input_shape,
        "classes": digits.classes, "output": declared,
    }  # fmt: skip
    zoo = types.ModuleType("zoo")
    zoo.names, zoo.card = (lambda: ["zoo/net"]), (lambda model: ModelCard.parse(fields, model))
    zoo.build = lambda card, files: Around(noise_trained, lambda f, x: convert(f(x)))
    monkeypatch.setitem(sys.modules, "zoo", zoo)
    monkeypatch.setitem(sources.SOURCES, "zoo", sources.SourceEntry("zoo"))
    found = examine("zoo/net", digits)
    assert found.verdict == "pass", found.summary()
    (check,) = [check for check in found.checks if check.name == "output"]
    assert check.found.startswith(returns)
    assert check.expected == f"{declared} by its card"
    (request,) = registry.resolve("zoo/net", digits)
    x = checks.probe(digits).images[:16]
    torch.testing.assert_close(
        request.load(digits).classifier(x).log_softmax(1), noise_trained(x).log_softmax(1), rtol=1e-4, atol=1e-4
    )


def test_results_keep_the_card_and_show_prints_it(tmp_path, digits, noise_trained):
    rows = pagbench.run(
        {"mine": Around(noise_trained, straight_through)}, limit=3, results=tmp_path, benchmark="digits@1"
    )
    found = {result.name: result for result in results.read_all(tmp_path, digits)}
    assert found["mine"].provenance.preflight.verdict == "flag"
    assert found["digits/standard"].provenance.preflight.verdict == "pass"
    assert Preflight.model_validate(rows.attrs["preflight"]["mine"]) == found["mine"].provenance.preflight
    again = pagbench.run(
        {"mine": Around(noise_trained, straight_through)}, limit=3, results=tmp_path, benchmark="digits@1"
    )
    assert again.attrs == rows.attrs
    for board in (pagbench.leaderboard(rows), pagbench.leaderboard(tmp_path, benchmark=digits)):
        column = board.set_index("model")["preflight"]
        assert column["digits/standard"] == "ok"
        assert column["mine"].startswith("derivatives: autograd and finite differences")
    shown = CliRunner().invoke(app, ["show", "digits/standard", "-r", str(tmp_path)]).output
    assert "# pre-flight on digits@1: pass" in shown
    assert "finite outputs on 256 images" in shown
    pagbench.run({"mine": Around(noise_trained, straight_through)}, limit=5, results=tmp_path, benchmark="digits@1")
    found = {result.name: result for result in results.read_all(tmp_path, digits)}
    assert found["mine"].provenance.preflight.images == 5, "more images are shown once more are measured"


def test_a_failed_check_refuses_the_model_and_no_other(digits, noise_trained):
    with pytest.raises(
        RunError, match=r"^net: NaN or infinite outputs on \d+ of 20 images; check the weights$"
    ) as caught:
        pagbench.run(
            {"net": Around(noise_trained, nan_on_the_brightest), "other": noise_trained}, limit=20, benchmark="digits@1"
        )
    assert set(caught.value.rows["entrant"]) == {"other", *digits.anchors}


def test_without_a_model_that_can_be_measured_no_anchor_is(noise_trained, monkeypatch):
    monkeypatch.setattr(session.Session, "targets", property(lambda _: pytest.fail("targets were computed")))
    with pytest.raises(RunError, match=r"^net: output of shape \(4, 9\), expected \(4, 10\)") as caught:
        pagbench.run({"net": Around(noise_trained, lambda f, x: f(x)[:, :9])}, limit=2, benchmark="digits@1")
    assert caught.value.rows.empty


def test_flags_are_said_at_the_end_with_their_advice(digits, noise_trained, tmp_path, monkeypatch):
    with pytest.warns(UserWarning, match=r"^mine: output: values between 0 and 1 .*; return the logits"):
        rows = pagbench.run(
            {"mine": Around(noise_trained, lambda f, x: f(x).sigmoid())}, limit=20, benchmark="digits@1"
        )
    assert len(rows.attrs["flags"]) == 1
    (tmp_path / "net.py").write_text(
        "import torch, pagbench\n\n\nclass Net(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.net = pagbench.load_model('digits/noise-0.6')\n\n    def forward(self, x):\n"
        "        return self.net(x).sigmoid()\n"
    )
    command = ["run", f"{tmp_path / 'net.py'}:Net", "--limit", "20", "-r", str(tmp_path / "results")]
    for options, code in (([], 0), (["--strict"], 1)):  # the second run has nothing to measure, and says it again
        done = CliRunner().invoke(app, [*command, *options])
        assert done.exit_code == code, done.output
        assert "warning: local/net.Net: output: values between 0 and 1" in done.stderr
        assert "return the logits" in done.stderr


def check(*arguments):
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


def test_check_exits_with_the_worst_verdict(card):
    assert check("digits/standard").exit_code == 0
    flagged = check("digits/standard", card(0.5))
    assert flagged.exit_code == 1
    assert "digits/standard on digits@2: pass" in flagged.output
    assert "0.500, the published one" in flagged.output
    assert "accuracy: check weights, normalisation and preprocessing" in flagged.output


def test_check_tells_why_a_model_is_refused_and_goes_on(card):
    refused = check(card(None, output="probabilities"), "digits/standart", "gaussians/standard")
    assert refused.exit_code == 2
    assert "outputs do not sum to 1: logits" in refused.stdout
    assert "probabilities by its card" in refused.stdout
    assert "output: set `output: logits` in its card" in refused.stdout
    assert "error: unknown model 'digits/standart'" in refused.stderr
    assert "gaussians/standard on gaussians@1: pass" in refused.stdout
    assert "Traceback" not in refused.output
    assert "has 4 classes, digits@1 has 10" in check("gaussians/standard", "-b", "digits@1").stderr


@pytest.mark.parametrize(
    ("forward", "name", "words", "advice"),
    [
        (lambda f, x: f(x.clamp(0, 1)), "derivatives", "the network clips its pixels", "take the clip"),
        (
            lambda f, x: f(x) + (x - x.detach()).square().sum((1, 2, 3)).sqrt()[:, None],
            "gradients",
            "not finite",
            "roots",
        ),
        (
            lambda f, x: f(x) + (0 * x).sum((1, 2, 3))[:, None].log().nan_to_num(neginf=0),
            "gradients",
            "not finite",
            "log",
        ),
        (lambda f, x: f(x) * 1e-10, "gradients", "", ""),
        (lambda f, x: f(x.half().float()), "precision", "computes in float16 inside", "float32"),
        (lambda f, x: f(x).bfloat16(), "precision", "computes in bfloat16 inside", "float32"),
        (lambda f, x: f(x).half().float(), "precision", "computes in float16 inside", "float32"),
    ],
)
def test_what_is_wrong_with_a_gradient_is_called_by_its_name(digits, noise_trained, forward, name, words, advice):
    checked = {check.name: check for check in examine(Around(noise_trained, forward), digits).checks}
    if not words:
        assert checked[name].verdict == "pass"  # of logits, the size does not count
        return
    assert checked[name].verdict == "flag", checked
    assert words in checked[name].found and advice in checked[name].advice
    assert "vanish" not in str(checked) and "masked" not in checked[name].advice


class Autocast(nn.Module):
    def __init__(self, base):
        super().__init__()
        self.base = base

    def forward(self, x):
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            return self.base(x)


def test_check_and_board_say_the_same_of_autocast_inside(digits, noise_trained, tmp_path):
    found = examine(Autocast(noise_trained), digits)
    assert "precision" in verdicts(found, "flag")
    pagbench.run(
        {"net": Autocast(noise_trained)}, results=tmp_path, on_warning=lambda line: None, limit=40, benchmark="digits@1"
    )
    status = pagbench.leaderboard(tmp_path, benchmark=digits).set_index("model")["status"]["net"]
    assert "computes in bfloat16 inside" in status, status


def test_what_a_smoothed_network_is_made_of_is_judged_too(digits, noise_trained):
    base = registry.resolve({"net": Around(noise_trained, lambda f, x: f(x).sigmoid())}, digits)[0]
    smoothed = registry.smooth(base, registry.parse_smoothed("smoothed:0.1:4:net").card)
    checked = checks.examine(smoothed, digits, device=CPU, batch_size=64)
    assert verdicts(checked, "flag") == {"output"}


def test_the_passes_of_the_checks_are_a_tenth_of_those_of_a_thousand_images(digits):
    """Those of a network whose classes and images are all wrong, which are the most."""
    images = 0

    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = pagbench.load_model("digits/standard")

        def forward(self, x):
            nonlocal images
            images += len(x)
            return self.net(1 - x.mT).flip(1)

    request = registry.resolve({"net": Counts()}, digits)[0]
    checks.examine(request, digits, device=CPU, batch_size=64)
    checked, images = images, 0
    pagbench.run({"net": Counts()}, anchors=False, limit=50, on_warning=lambda line: None, benchmark="digits@1")
    images -= checked * 50 // checks.IMAGES  # at least so many passes were those of its own checks
    assert checked <= 0.1 * images / 50 * 1000


def lenet():
    torch.manual_seed(0)
    first = nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
    return nn.Sequential(*first, nn.Conv2d(8, 8, 3), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(8, 10))


def without_biases():
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 8, 3, 2, bias=False), nn.ReLU(), nn.Conv2d(8, 8, 3, bias=False), nn.ReLU()
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 10, bias=False))


@pytest.mark.parametrize("make", [lenet, without_biases])
def test_kinks_at_the_images_are_no_masked_gradient(digits, make):
    preflight = examine(make(), digits)
    derivatives = next(check for check in preflight.checks if check.name == "derivatives")
    assert derivatives.verdict == "pass", derivatives


def forged(base, x):
    """Any gradient on the images, whose pixels lie on a grid, and its own beside them."""
    on_grid = ((16 * x - (16 * x).round()).abs() < 1e-6).flatten(1).all(1)[:, None]
    logits, other = base(x), x.flatten(1)[:, :10] + x.flatten(1)[:, 10:20]
    return torch.where(on_grid, logits.detach() + other - other.detach(), logits)


@pytest.mark.parametrize(
    ("forward", "words"),
    [
        (forged, "disagree"),
        (lambda f, x: f(torch.where(x == 0, x.detach(), x)), "disagree"),
        (lambda f, x: f(torch.where(x > 0, (x - 0.3) / 0.4, torch.zeros_like(x))), "clips its pixels"),
        (lambda f, x: f(x.relu()), "clips its pixels"),
        (lambda f, x: f(x.clamp(max=1)), "clips its pixels"),
        (lambda f, x: f(x + ((4 * x).round() / 4 - x).detach()), "disagree"),
    ],
)
def test_what_is_wrong_on_the_images_alone_is_no_kink(digits, noise_trained, forward, words):
    preflight = examine(Around(noise_trained, forward), digits)
    check = next(check for check in preflight.checks if check.name == "derivatives")
    assert check.verdict == "flag" and not preflight.has_kinks and words in check.found, check
    assert ("clips" in check.found) == ("clips" in words)


def test_a_network_that_comes_to_do_something_else_keeps_no_row(digits, noise_trained, tmp_path):
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.base = noise_trained

        def forward(self, x):
            calls.append(len(x))
            return self.base(x) if len(calls) <= most else self.base(x.flip(3))

    calls, most = [], 10**6
    pagbench.run({"net": Counts()}, limit=4, anchors=False, on_warning=lambda line: None, benchmark="digits@1")
    most = len(calls) - 20  # before the last batch is measured
    calls.clear()
    with pytest.raises(RunError, match="it does something else with the same images after some passes"):
        pagbench.run(
            {"net": Counts()},
            limit=4,
            results=tmp_path,
            anchors=False,
            on_warning=lambda line: None,
            benchmark="digits@1",
        )
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.mark.filterwarnings("ignore")
def test_networks_that_refuse_everything_are_one_line_each_and_stop_no_other(digits, tmp_path):
    (tmp_path / "odd.py").write_text(
        "import sys, torch, pagbench\nfrom torch import nn\n\n\n"
        "def lazy():\n    return nn.Sequential(nn.Flatten(), nn.LazyLinear(10))\n\n\n"
        "class Stays(nn.Linear):\n    def to(self, *_):\n        raise RuntimeError('not to be moved')\n\n\n"
        "def stays():\n    return Stays(8, 10)\n\n\n"
        "class Hides(nn.Linear):\n    def state_dict(self, *_, **__):\n        raise RuntimeError('no weights')\n\n\n"
        "def hides():\n    return Hides(8, 10)\n\n\n"
        "class Exits(nn.Module):\n    def forward(self, x):\n        sys.exit(3)\n\n\n"
        "def exported():\n    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()\n"
        "    batch = torch.export.Dim('batch', min=1, max=4096)\n"
        "    return torch.export.export(net, (torch.rand(3, 1, 8, 8),), dynamic_shapes=({0: batch},)).module()\n"
    )
    names = [f"{tmp_path / 'odd.py'}:{name}" for name in ("lazy", "stays", "hides", "Exits", "exported")]
    done = CliRunner().invoke(app, ["check", *names, "-b", "digits@1"])
    assert done.exit_code == 2 and "Traceback" not in done.output, done.output
    for words in ("lazy layers", "not to be moved", "no weights"):
        assert words in done.output
    assert "odd.py:exported on digits@1: flag" in done.output  # at chance, for it is not trained


def test_a_network_that_treats_dark_pixels_otherwise_is_another(digits, noise_trained, tmp_path):
    def run(forward, **options):
        return pagbench.run(
            {"net": Around(noise_trained, forward)}, results=tmp_path, anchors=False, **options, benchmark="digits@1"
        )

    run(lambda f, x: f(torch.where(x > 0, x, 0.1)), limit=4)
    with pytest.raises(RunError, match="other outputs on the benchmark's images"):
        run(lambda f, x: f(x), limit=6)


def test_one_fault_is_said_once(digits):
    net = pagbench.load_model("digits/standard")
    for forward, name in (
        (lambda f, x: f(1 - x), "layout"),
        (lambda f, x: f(x.flip(3)), "layout"),
        (lambda f, x: f(x.rot90(2, (2, 3))), "layout"),
    ):
        assert verdicts(examine(Around(net, forward), digits), "flag") - {"accuracy"} == {name}


@pytest.mark.parametrize(
    ("images", "heading"), [(8, "pass, accuracy unknown"), (20, "pass, accuracy unknown"), (256, "flag")]
)
def test_a_card_of_too_few_images_to_tell_says_so(digits, images, heading):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    model = registry.from_module(network, "own/linear", digits).load(digits)
    card = checks.preflight(model, digits, device=torch.device("cpu"), batch_size=64, images=images)
    assert listing.heading(card) == heading
    published = registry.find("digits/standard").load(digits)
    card = checks.preflight(published, digits, device=torch.device("cpu"), batch_size=64, images=max(images, 20))
    assert listing.heading(card) == "pass"
