"""Networks that others publish give the score of the data in pixel units, whatever they predict."""

import json
import pickle

import numpy as np
import pytest
import torch
from closed_forms import linear_schedule, normal
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from pagbench import benchmarks
from pagbench.cards import RemoteFile, ScoreCard
from pagbench.data import Dataset
from pagbench.densities import adm, edm, pipelines, scores
from pagbench.densities.network import (
    DiscreteScore,
    NetworkScore,
    ResizedScore,
    clean_from_noise,
    clean_from_velocity,
    nearest_step,
    resizing,
    variance_preserving,
)
from pagbench.errors import CardError, UnknownNameError, WeightsError
from pagbench.running import targets

MEAN, STD = 0.2, 0.6
"""Of the Gaussian data on [-1, 1] that the closed-form networks were made for."""


class Anchor(torch.nn.Module):
    """A network without weights of its own, in float64."""

    def __init__(self):
        super().__init__()
        self.anchor = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))


def gaussian_denoiser(x, sigma):
    """E[x0 | x] of N(MEAN, STD²) at noise level sigma."""
    return (STD**2 * x + sigma**2 * MEAN) / (STD**2 + sigma**2)


def gaussian_network(prediction, levels):
    """A network that knows the Gaussian's denoiser and says it as noise, as velocity or as the clean image."""

    def predict(noisy, step, labels):
        level = variance_preserving(float(levels[int(step[0])]))
        clean = gaussian_denoiser(noisy / level.alpha, level.sigma)
        noise = (noisy - level.alpha * clean) / level.spread
        velocity = level.alpha * noise - level.spread * clean
        return {"epsilon": noise, "v_prediction": velocity, "sample": clean}[prediction]

    known = {"conditional": False, "null_label": None, "input_shape": (1, 4, 4), "weights_sha256": None}
    return DiscreteScore(Anchor(), predict, prediction, levels, **known)


@given(sigma=st.floats(min_value=0.01, max_value=100.0))
@settings(derandomize=True, deadline=None, max_examples=30)
def test_noise_and_velocity_of_a_variance_preserving_path_give_the_clean_image(sigma):
    level = variance_preserving(sigma)
    assert level.alpha**2 + level.spread**2 == pytest.approx(1, abs=1e-12)
    assert level.sigma == pytest.approx(sigma, rel=1e-12)
    clean, noise = normal(0, 2, 1, 4, 4), normal(1, 2, 1, 4, 4)
    noisy, velocity = level.alpha * clean + level.spread * noise, level.alpha * noise - level.spread * clean
    for found in (clean_from_noise(noisy, noise, level), clean_from_velocity(noisy, velocity, level)):
        torch.testing.assert_close(found, clean, rtol=0, atol=1e-11)


def test_the_nearest_step_is_nearest_in_the_logarithm():
    levels = linear_schedule()
    assert [nearest_step(levels, float(levels[step])) for step in (0, 1, 500, 999)] == [0, 1, 500, 999]
    assert nearest_step(torch.tensor([1.0, 4.0], dtype=torch.float64), 2.2) == 1


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("sigma", [0.05, 0.25, 0.6, 3.0])
def test_every_prediction_gives_the_score_of_the_gaussian(prediction, sigma):
    model = gaussian_network(prediction, linear_schedule())
    x = torch.rand(3, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    used = model.rounded(sigma)
    expected = -(x - (MEAN + 1) / 2) / ((STD / 2) ** 2 + used**2)
    torch.testing.assert_close(model.score(x, sigma), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(model.denoise(x, sigma), x + used**2 * expected, rtol=1e-12, atol=1e-12)
    assert abs(np.log(used / sigma)) < 0.02


@pytest.fixture(scope="module")
def unet():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return small_unet()


def small_unet(**options):
    return UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        block_out_channels=(8, 8),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        attention_head_dim=4,
        **options,
    )


@pytest.fixture
def images():
    return torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def save(unet, folder, **schedule):
    DDPMPipeline(unet, DDPMScheduler(clip_sample=False, **schedule)).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("betas", ["linear", "squaredcos_cap_v2"])
def test_a_pipelines_folder_denoises_as_diffusers_does(unet, images, tmp_path, prediction, betas):
    folder = save(unet, tmp_path, prediction_type=prediction, beta_schedule=betas)
    model = pipelines.read(folder)
    used = 2 * model.rounded(0.25)
    scheduler = DDPMScheduler.from_pretrained(tmp_path / "scheduler")
    ratio = (1 - scheduler.alphas_cumprod) / scheduler.alphas_cumprod
    step = int((ratio.sqrt() - used).abs().argmin())
    noisy = scheduler.alphas_cumprod[step].sqrt() * (2 * images - 1)
    with torch.no_grad():
        raw = unet(noisy, step).sample
    clean = (scheduler.step(raw, step, noisy).pred_original_sample + 1) / 2
    torch.testing.assert_close(model.denoise(images, 0.25), clean, rtol=1e-4, atol=1e-4)
    assert model.input_shape == (1, 8, 8)
    assert abs(used - 0.5) < 0.01


def test_the_steps_of_the_ddpm_schedule(unet, tmp_path):
    levels, prediction = pipelines.read_schedule(save_scheduler(tmp_path))
    assert prediction == "epsilon"
    assert [nearest_step(levels, sigma) for sigma in (0.1, 0.25, 0.5, 1.2)] == [26, 73, 144, 293]
    torch.testing.assert_close(levels, linear_schedule(), rtol=1e-5, atol=0)


def save_scheduler(folder):
    DDPMScheduler().save_pretrained(folder)
    return folder / "scheduler_config.json"


def test_flat_binary_and_renamed_weights_are_the_same_model(unet, images, tmp_path, monkeypatch):
    """As `google/ddpm-cifar10-32` lies on the hub: one folder, a PyTorch file, attention under its former names."""
    expected = pipelines.read(save(unet, tmp_path / "pipeline")).score(images, 0.25)
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PAGBENCH_OFFLINE", "1")
    kept = tmp_path / "cache" / "hf" / "owner" / "name@main"
    (kept / "scheduler").mkdir(parents=True)
    (kept / "unet").mkdir()
    state = load_file(tmp_path / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors")
    former = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for new, old in former.items():
        state = {name.replace(f".{new}.", f".{old}."): value for name, value in state.items()}
    assert any(".query." in name for name in state)
    torch.save(state, kept / "unet" / "diffusion_pytorch_model.bin")
    for part, name in (("unet", "config.json"), ("scheduler", "scheduler_config.json")):
        (kept / part / name).write_text((tmp_path / "pipeline" / part / name).read_text())
    torch.testing.assert_close(pipelines.read("owner/name").score(images, 0.25), expected, rtol=0, atol=0)


def test_a_class_conditional_unet_takes_labels_and_its_null_label(images, tmp_path):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = small_unet(num_class_embeds=4)
    folder = save(unet, tmp_path)
    model = pipelines.read(folder, null_label=3)
    null = torch.full((2,), 3)
    torch.testing.assert_close(model.score(images, 0.25), model.score(images, 0.25, null))
    assert not torch.allclose(model.score(images, 0.25, torch.tensor([0, 1])), model.score(images, 0.25))
    with pytest.raises(CardError, match="needs a class"):
        pipelines.read(folder).score(images, 0.25)


def test_a_network_without_classes_has_no_conditional_score(unet, images, tmp_path):
    with pytest.raises(CardError, match=r"no s\(x\|y\)"):
        pipelines.read(save(unet, tmp_path)).score(images, 0.25, torch.tensor([0, 1]))


def broken(folder, what):
    config = folder / "unet" / "config.json"
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    schedule = folder / "scheduler" / "scheduler_config.json"
    if what == "class":
        config.write_text(json.dumps({"_class_name": "UNet2DConditionModel"}))
    elif what == "html":
        config.write_text("<html>not found</html>")
    elif what == "weights":
        weights.unlink()
    elif what == "truncated":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif what == "names":
        save_file({"other": torch.zeros(1)}, weights)
    elif what == "flow":
        schedule.write_text(json.dumps({"_class_name": "FlowMatchEulerDiscreteScheduler"}))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("class", "configuration of 'UNet2DConditionModel', expected 'UNet2DModel'"),
        ("html", "not a JSON configuration"),
        ("weights", "has neither unet/diffusion_pytorch_model.safetensors"),
        ("truncated", "not a whole safetensors file"),
        ("names", "weights of another network"),
        ("flow", "expected a scheduler with betas"),
    ],
)
def test_a_broken_pipeline_gets_one_line(unet, tmp_path, what, message):
    folder = save(unet, tmp_path)
    broken(tmp_path, what)
    with pytest.raises(WeightsError, match=message) as caught:
        pipelines.read(folder)
    assert "\n" not in str(caught.value)


def test_a_repository_that_is_nowhere_says_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path))
    monkeypatch.setenv("PAGBENCH_OFFLINE", "1")
    with pytest.raises(WeightsError, match=r"config\.json"):
        pipelines.read("owner/name")
    with pytest.raises(WeightsError, match="no such folder"):
        pipelines.read("./nowhere")


TINY_ADM = {
    "image_size": 8, "num_channels": 32, "channel_mult": [1, 1], "num_res_blocks": 1, "num_classes": 5,
    "attention_resolutions": [4], "num_head_channels": 16, "discrete_schedule": "cosine", "discrete_steps": 1000,
    "use_scale_shift_norm": True, "resblock_updown": True,
}  # fmt: skip


@pytest.fixture
def azula_denoiser(tmp_path, monkeypatch):
    """A tiny ADM network whose weights lie where the publisher's would."""
    from azula.plugins import adm as azula_adm
    from azula.plugins import utils

    card = type("Card", (), {"config": TINY_ADM})
    monkeypatch.setattr(utils, "load_cards", lambda name: {"tiny": card})
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        denoiser = azula_adm.make_model(**TINY_ADM, clip_mean=False).eval()
        for parameter in denoiser.backbone.parameters():  # the last layers are born zero
            parameter.data += 0.05 * torch.randn_like(parameter)
    (tmp_path / "adm").mkdir()
    torch.save(denoiser.backbone.state_dict(), tmp_path / "adm/tiny.pt")
    return denoiser


def test_adm_denoises_as_azula_does(azula_denoiser):
    from azula.noise import VESchedule

    model = adm.read("tiny", RemoteFile(path="adm/tiny.pt"))
    x, labels = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)), torch.tensor([1, 4])
    level = 2 * model.rounded(0.6)
    # just below the step, since azula takes the next one above
    azula_denoiser.schedule = VESchedule(level * (1 - 1e-5), 10.0)
    with torch.no_grad():
        mean = azula_denoiser(2 * x - 1, torch.tensor(0.0), label=labels).mean
    assert mean.abs().max() > 1  # unclipped
    torch.testing.assert_close(2 * model.denoise(x, 0.6, labels) - 1, mean, rtol=1e-3, atol=1e-3)
    with pytest.raises(CardError, match="needs a class"):
        model.score(x, 0.6)


def test_an_unknown_adm_network_is_named(azula_denoiser):
    with pytest.raises(UnknownNameError, match="unknown ADM network 'imagenet'"):
        adm.read("imagenet", RemoteFile(path="adm/tiny.pt"))


class GaussianNetwork(torch.nn.Module):
    """The Gaussian's denoiser with EDM's interface; the class shifts the mean."""

    img_channels, img_resolution, label_dim = 1, 4, 3

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, x, sigma, class_labels=None):
        s = sigma[:, None, None, None]
        mean = MEAN + class_labels.argmax(1).to(x)[:, None, None, None]
        return self.scale * (STD**2 * x + s**2 * mean) / (STD**2 + s**2)


class RunsCode:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return type(self.path).touch, (self.path,)


def test_edm_runs_code_only_where_the_user_has_said_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("PAGBENCH_RUN_CODE", raising=False)
    (tmp_path / "adm").mkdir()
    (tmp_path / "adm/evil.pkl").write_bytes(pickle.dumps({"ema": RunsCode(tmp_path / "ran")}))
    with pytest.raises(WeightsError, match="PAGBENCH_RUN_CODE=edm"):
        edm.read(RemoteFile(path="adm/evil.pkl"))
    assert not (tmp_path / "ran").exists()
    monkeypatch.setenv("PAGBENCH_RUN_CODE", "edm")
    with pytest.raises(WeightsError, match="sha256"):
        edm.read(RemoteFile(path="adm/evil.pkl", sha256="0" * 64))
    assert not (tmp_path / "ran").exists()


def test_edm_gives_the_score_of_the_gaussian(tmp_path, monkeypatch):
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path))
    monkeypatch.setenv("PAGBENCH_RUN_CODE", "edm")
    (tmp_path / "adm").mkdir()
    (tmp_path / "adm/gaussian.pkl").write_bytes(pickle.dumps({"ema": GaussianNetwork()}))
    model = edm.read(RemoteFile(path="adm/gaussian.pkl"))
    x, labels = torch.rand(3, 1, 4, 4), torch.tensor([0, 2, 1])
    mean = (MEAN + labels[:, None, None, None] + 1) / 2
    torch.testing.assert_close(model.score(x, 0.25, labels), -(x - mean) / ((STD / 2) ** 2 + 0.25**2))
    assert model.rounded(0.3) == 0.3


def test_the_resized_score_is_the_gradient_of_the_log_density_of_the_resized_image():
    x = torch.rand(2, 1, 11, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    inner = gaussian_network("epsilon", linear_schedule())
    variance = (STD / 2) ** 2 + inner.rounded(0.25) ** 2
    small = torch.nn.functional.interpolate(x, (4, 4), mode="bilinear", antialias=True)
    (-(small - (MEAN + 1) / 2).square() / (2 * variance)).sum().backward()
    model = ResizedScore(inner, 4)
    torch.testing.assert_close(model.score(x.detach(), 0.25), x.grad, rtol=1e-10, atol=1e-10)
    assert model.rounded(0.25) == inner.rounded(0.25)
    torch.testing.assert_close(resizing(11, 4, x).sum(1), torch.ones(4, dtype=torch.float64))


def test_the_size_of_the_images_must_be_the_networks(unet, tmp_path, digits, digits_splits):
    card = ScoreCard(kind="diffusers", repository=save(unet, tmp_path))
    assert isinstance(scores.build(card, digits, digits_splits.train), NetworkScore)
    larger = benchmarks.load("fashion-mnist@1")
    with pytest.raises(CardError, match="give the network's side there"):
        scores.build(card, larger, digits_splits.train)
    resized = scores.build(card.model_copy(update={"resolution": 8}), larger, digits_splits.train)
    assert resized.score(torch.rand(1, 1, 28, 28), 0.3).shape == (1, 1, 28, 28)


class ClassScores:
    """s(x|c) = c-th unit vector, s(x) = zero."""

    def score(self, x, sigma, labels=None):
        out = torch.zeros(len(x), x[0].numel())
        if labels is not None:
            out[torch.arange(len(x)), labels] = 1
        return out.reshape(x.shape)


@pytest.fixture
def few(digits):
    ids = ("7", "100", "3")
    return Dataset(ids, torch.rand(3, 1, 8, 8), torch.tensor([4, 0, 9]))


def test_the_target_of_a_network_with_both_scores_is_their_difference(digits, few):
    target = targets.bayes_target(ClassScores(), digits, few, torch.device("cpu"))
    expected = torch.nn.functional.one_hot(few.labels, 64).float().reshape(3, 1, 8, 8)
    torch.testing.assert_close(target, expected)


def test_without_an_unconditional_score_other_classes_stand_for_it(digits, few):
    benchmark = digits.model_copy(update={"score": digits.score.model_copy(update={"other_classes": 4})})
    target = targets.bayes_target(ClassScores(), benchmark, few, torch.device("cpu")).flatten(1)
    own = target[torch.arange(3), few.labels]
    torch.testing.assert_close(own, torch.full((3,), 1 / np.sqrt(1 + 1 / 4), dtype=torch.float32))
    assert ((target < 0).sum(1) == 4).all()
    torch.testing.assert_close(target.sum(1), torch.zeros(3), rtol=0, atol=1e-6)
    assert len({tuple((row < 0).nonzero()[:, 0].tolist()) for row in target}) == 3


def test_the_other_classes_of_a_sample_do_not_depend_on_its_batch(digits, few):
    together = targets.other_classes(digits, few, 4)
    alone = targets.other_classes(digits, Dataset(few.ids[1:2], few.images[1:2], few.labels[1:2]), 4)
    assert together[1:2].equal(alone)
    assert all(len({*row, label}) == 5 for row, label in zip(together.tolist(), few.labels.tolist(), strict=True))
