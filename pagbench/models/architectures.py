"""Network architectures that cards name."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

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


def strided_cnn(input_shape: tuple[int, int, int], classes: int, activation: str = "silu") -> nn.Module:
    """Four 3×3 convolutions (16 to 64 channels; three of stride 2), two linear layers: 99,000 parameters at 28×28."""
    channels, height, width = input_shape
    act = ACTIVATIONS[activation]
    features = 64 * -(-height // 8) * -(-width // 8)
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, stride=2, padding=1), act(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1), act(),
        nn.Conv2d(32, 32, 3, padding=1), act(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1), act(),
        nn.Flatten(), nn.Linear(features, 64), act(), nn.Linear(64, classes),
    )  # fmt: skip


class _ResidualBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, act: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(outputs), act(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
        self.act = act()

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o _ _"]:
        out: Tensor = self.act(self.body(x) + self.shortcut(x))
        return out


def small_resnet(input_shape: tuple[int, int, int], classes: int, activation: str = "silu") -> nn.Module:
    """ResNet with batch norm (He et al. 2015, arXiv 1512.03385): stem of stride 2, three blocks, 77,000 parameters."""
    act = ACTIVATIONS[activation]
    return nn.Sequential(
        nn.Conv2d(input_shape[0], 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), act(),
        _ResidualBlock(16, 16, 1, act), _ResidualBlock(16, 32, 2, act), _ResidualBlock(32, 64, 2, act),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes),
    )  # fmt: skip


ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "small-cnn": small_cnn,
    "strided-cnn": strided_cnn,
    "small-resnet": small_resnet,
    "mlp": mlp,
}


def check(name: str, activation: str) -> None:
    """Whether both names exist.

    Raises:
        UnknownNameError: one does not.
    """
    if name not in ARCHITECTURES:
        raise UnknownNameError("architecture", name, ARCHITECTURES)
    if activation not in ACTIVATIONS:
        raise UnknownNameError("activation", activation, ACTIVATIONS)


def build(name: str, input_shape: tuple[int, int, int], classes: int, activation: str = "silu") -> nn.Module:
    """Builds a network with random weights.

    Raises:
        UnknownNameError: no such architecture or activation.
    """
    check(name, activation)
    return ARCHITECTURES[name](input_shape, classes, activation)
