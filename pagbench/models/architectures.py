"""Network architectures that cards name."""

from collections.abc import Callable

from torch import nn

from pagbench.errors import UnknownNameError

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "silu": nn.SiLU,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "softplus": nn.Softplus,
}


def small_cnn(input_shape: tuple[int, int, int], classes: int, activation: str = "silu") -> nn.Module:
    """Three 3×3 convolutions (16, 32 with stride 2, 32 channels) and two linear layers: 50,000 parameters at 8×8."""
    channels, height, width = input_shape
    act = ACTIVATIONS[activation]
    features = 32 * ((height + 1) // 2) * ((width + 1) // 2)
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1), act(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1), act(),
        nn.Conv2d(32, 32, 3, padding=1), act(),
        nn.Flatten(), nn.Linear(features, 64), act(), nn.Linear(64, classes),
    )  # fmt: skip


def mlp(input_shape: tuple[int, int, int], classes: int, activation: str = "silu") -> nn.Module:
    """Two hidden layers of 128 units: for data whose pixels have no neighbours."""
    channels, height, width = input_shape
    act = ACTIVATIONS[activation]
    return nn.Sequential(
        nn.Flatten(), nn.Linear(channels * height * width, 128), act(),
        nn.Linear(128, 128), act(), nn.Linear(128, classes),
    )  # fmt: skip


ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {"small-cnn": small_cnn, "mlp": mlp}


def build(name: str, input_shape: tuple[int, int, int], classes: int, activation: str = "silu") -> nn.Module:
    """Builds a network with random weights.

    Raises:
        UnknownNameError: no such architecture or activation.
    """
    if name not in ARCHITECTURES:
        raise UnknownNameError("architecture", name, ARCHITECTURES)
    if activation not in ACTIVATIONS:
        raise UnknownNameError("activation", activation, ACTIVATIONS)
    return ARCHITECTURES[name](input_shape, classes, activation)
