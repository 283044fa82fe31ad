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
from pagbench.cli import app
from pagbench.models import architectures, checks, registry, sources
from pagbench.results.preflight import Preflight
from pagbench.running.runner import RunError

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
    if x.min() < -0.1 or x.max() > 1.1:
        raise ValueError("pixels must be in [0, 1]")
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
        (lambda f, x: f(x * torch.tensor(1e-30)) + 0 * x.sum(), "flag", {"gradients"}),
        (by_position, "flag", {"batch"}),
        (alone_fails, "fail", {"batch"}),
        (lambda f, x: f(x / 255), "flag", {"range"}),
        (lambda f, x: f(nn.functional.dropout(x, 0.1)), "fail", {"determinism"}),
        (lambda f, x: f(x).softmax(1), "fail", {"output"}),
        (lambda f, x: f(x).log_softmax(1), "pass", set()),
        (lambda f, x: f(x) * torch.nan, "fail", {"output"}),
        (nan_on_the_brightest, "fail", {"finite"}),
        (lambda f, x: f(x).detach(), "fail", {"gradients"}),
        (lambda f, x: f(x)[:, :9], "fail", {"input"}),
        (lambda f, x: f(x.float()).to(x.dtype), "pass", set()),  # float32 inside
    ],
)
def test_each_check_finds_its_fault_and_no_other(digits, noise_trained, forward, verdict, names):
    found = examine(Around(noise_trained, forward), digits)
    assert (found.verdict, verdicts(found, "flag", "fail")) == (verdict, names), found.summary()
    assert all(check.advice for check in found.checks if check.verdict in ("flag", "fail"))


def test_batch_normalisation_without_running_statistics_depends_on_the_batch(digits, noise_trained):
    network = nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False), noise_trained)
    assert "batch" in verdicts(examine(network, digits), "flag")


def test_images_of_other_ranges_are_told_with_the_mean_and_std_to_set(digits, noise_trained):
    found = examine(Around(noise_trained, lambda f, x: f((x + 1) / 2)), digits)
    (check,) = [check for check in found.checks if check.name == "range"]
    assert check.verdict == "pass"  # a shift that the network does not mind is no fault
    found = examine(Around(noise_trained, lambda f, x: f(x / 255)), digits)
    (check,) = [check for check in found.checks if check.name == "range"]
    assert "mean [0.0] and std [0.0039]" in check.advice


def test_honest_networks_pass(digits):
    torch.manual_seed(0)
    relu = architectures.build("small-resnet", digits.input_shape, digits.classes, "relu")
    relu.train()(torch.rand(64, *digits.input_shape))  # fresh normalisation puts dark pixels on the kink itself
    for network in [relu, *registry.models_of(digits)[::4], "digits/smoothing-0.6", "control/bayes"]:
        found = examine(network, digits)
        assert found.verdict == "pass", (network, found.summary())


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
    rows = pagbench.run({"mine": Around(noise_trained, straight_through)}, limit=3, results=tmp_path)
    found = {result.name: result for result in results.read_all(tmp_path, digits)}
    assert found["mine"].provenance.preflight.verdict == "flag"
    assert found["digits/standard"].provenance.preflight.verdict == "pass"
    assert Preflight.model_validate(rows.attrs["preflight"]["mine"]) == found["mine"].provenance.preflight
    again = pagbench.run({"mine": Around(noise_trained, straight_through)}, limit=3, results=tmp_path)
    assert again.attrs == rows.attrs
    for board in (pagbench.leaderboard(rows), pagbench.leaderboard(tmp_path, benchmark=digits)):
        column = board.set_index("model")["preflight"]
        assert column["digits/standard"] == "ok"
        assert column["mine"].startswith("derivatives: autograd and finite differences")
    shown = CliRunner().invoke(app, ["show", "digits/standard", "-r", str(tmp_path)]).output
    assert "# pre-flight on digits@1: pass" in shown
    assert "finite outputs on 256 images" in shown


def test_a_failed_check_refuses_the_model_and_no_other(noise_trained):
    with pytest.raises(
        RunError, match=r"^net: NaN or infinite outputs on \d+ of 256 images; check the weights$"
    ) as caught:
        pagbench.run({"net": Around(noise_trained, nan_on_the_brightest)}, limit=2)
    assert "digits/standard" in set(caught.value.rows["entrant"])


def check(*arguments):
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


def test_check_exits_with_the_worst_verdict(card):
    assert check("digits/standard").exit_code == 0
    flagged = check("digits/standard", card(0.5))
    assert flagged.exit_code == 1
    assert "digits/standard on digits@1: pass" in flagged.output
    assert "0.500, the published one" in flagged.output
    assert "accuracy: check weights, normalisation and preprocessing" in flagged.output


def test_check_tells_why_a_model_is_refused_and_goes_on(card):
    refused = check(card(None, output="probabilities"), "digits/standart", "gaussians/standard")
    assert refused.exit_code == 2
    assert "outputs do not sum to 1 but the card says 'probabilities'" in refused.stdout
    assert "output: set `output: logits`" in refused.stdout
    assert "error: unknown model 'digits/standart'" in refused.stderr
    assert "gaussians/standard on gaussians@1: pass" in refused.stdout
    assert "Traceback" not in refused.output
    assert "has 4 classes, digits@1 has 10" in check("gaussians/standard", "-b", "digits").stderr
