"""Network architectures that cards name."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from pagbench.cards import NEEDS_ACTIVATION, ModelCard
from pagbench.errors import CardError, UnknownNameError
from pagbench.models.sources import timm, torchvision

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "silu": nn.SiLU,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "softplus": nn.Softplus,
}


def _cnn(
    convolutions: list[tuple[int, int]], input_shape: tuple[int, int, int], classes: int, activation: str
) -> nn.Module:
    """3×3 convolutions of so many channels and that stride, and two linear layers."""
    channels, height, width = input_shape
    act = ACTIVATIONS[activation]
    layers: list[nn.Module] = []
    for outputs, stride in convolutions:
        layers += [nn.Conv2d(channels, outputs, 3, stride=stride, padding=1), act()]
        channels, height, width = outputs, -(-height // stride), -(-width // stride)
    head = [nn.Flatten(), nn.Linear(channels * height * width, 64), act(), nn.Linear(64, classes)]
    return nn.Sequential(*layers, *head)


def small_cnn(input_shape: tuple[int, int, int], classes: int, activation: str = "silu") -> nn.Module:
    """Three 3×3 convolutions (16, 32 with stride 2, 32 channels) and two linear layers: 50,000 parameters at 8×8."""
    return _cnn([(16, 1), (32, 2), (32, 1)], input_shape, classes, activation)


def strided_cnn(input_shape: tuple[int, int, int], classes: int, activation: str = "silu") -> nn.Module:
    """Four 3×3 convolutions (16 to 64 channels; three of stride 2), two linear layers: 99,000 parameters at 28×28."""
    return _cnn([(16, 2), (32, 2), (32, 1), (64, 2)], input_shape, classes, activation)


def mlp(input_shape: tuple[int, int, int], classes: int, activation: str = "silu") -> nn.Module:
    """Two hidden layers of 128 units: for data whose pixels have no neighbours."""
    channels, height, width = input_shape
    act = ACTIVATIONS[activation]
    return nn.Sequential(
        nn.Flatten(), nn.Linear(channels * height * width, 128), act(),
        nn.Linear(128, 128), act(), nn.Linear(128, classes),
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


def _resnet(
    widths: tuple[int, int, int], input_shape: tuple[int, int, int], classes: int, activation: str
) -> nn.Module:
    """ResNet with batch norm (He et al. 2015, arXiv 1512.03385): stem of stride 2 and 16 channels, three blocks."""
    act = ACTIVATIONS[activation]
    first, second, third = widths
    return nn.Sequential(
        nn.Conv2d(input_shape[0], 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), act(),
        _ResidualBlock(16, first, 1, act), _ResidualBlock(first, second, 2, act),
        _ResidualBlock(second, third, 2, act),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(third, classes),
    )  # fmt: skip


def small_resnet(input_shape: tuple[int, int, int], classes: int, activation: str = "silu") -> nn.Module:
    """ResNet of three blocks with batch norm (16, 32, 64 channels): 77,000 parameters."""
    return _resnet((16, 32, 64), input_shape, classes, activation)


def tiny_resnet(input_shape: tuple[int, int, int], classes: int, activation: str = "silu") -> nn.Module:
    """ResNet of three blocks with batch norm (16, 32, 32 channels): 40,000 parameters."""
    return _resnet((16, 32, 32), input_shape, classes, activation)


class _MixerBlock(nn.Module):
    def __init__(self, tokens: int, channels: int, act: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.before = nn.LayerNorm(channels)
        self.across = nn.Sequential(nn.Linear(tokens, 2 * tokens), act(), nn.Linear(2 * tokens, tokens))
        self.between = nn.LayerNorm(channels)
        self.within = nn.Sequential(nn.Linear(channels, 2 * channels), act(), nn.Linear(2 * channels, channels))

    def forward(self, x: Float[Tensor, "b t n"]) -> Float[Tensor, "b t n"]:
        x = x + self.across(self.before(x).mT).mT
        out: Tensor = x + self.within(self.between(x))
        return out


class Mixer(nn.Module):
    """MLP-Mixer (Tolstikhin et al. 2021, arXiv 2105.01601): patches, no convolution or attention beyond them.

    7×7 patches or fewer, three blocks of 64 channels: 82,000 parameters at 28×28.
    """

    def __init__(self, input_shape: tuple[int, int, int], classes: int, activation: str = "gelu") -> None:
        super().__init__()
        channels, height, width = input_shape
        side = max(2, -(-max(height, width) // 7))
        tokens, features, act = (height // side) * (width // side), 64, ACTIVATIONS[activation]
        self.patches = nn.Conv2d(channels, features, side, stride=side)
        self.blocks = nn.Sequential(*(_MixerBlock(tokens, features, act) for _ in range(3)))
        self.norm = nn.LayerNorm(features)
        self.head = nn.Linear(features, classes)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        """Logits."""
        tokens = self.patches(x).flatten(2).mT
        out: Tensor = self.head(self.norm(self.blocks(tokens)).mean(dim=1))
        return out


class _CifarBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.downsample: nn.Module = nn.Identity()
        if stride != 1:
            reduced = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(reduced, nn.BatchNorm2d(outputs))

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o _ _"]:
        inner = self.relu(self.bn1(self.conv1(x)))
        out: Tensor = self.relu(self.bn2(self.conv2(inner)) + self.downsample(x))
        return out


class CifarResNet110(nn.Module):
    """ResNet-110 for 32×32 images (He et al. 2015, arXiv 1512.03385, section 4.2), 1.7 million parameters.

    Three stages of 18 blocks with 16, 32 and 64 channels. The names of its parameters are those of locuslab/smoothing.
    """

    def __init__(self, input_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(input_shape[0], 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = self._stage(16, 16, 1)
        self.layer2 = self._stage(16, 32, 2)
        self.layer3 = self._stage(32, 64, 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, classes)

    @staticmethod
    def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
        rest = [_CifarBlock(outputs, outputs, 1) for _ in range(17)]
        return nn.Sequential(_CifarBlock(inputs, outputs, stride), *rest)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        """Logits."""
        features = self.layer3(self.layer2(self.layer1(self.relu(self.bn1(self.conv1(x))))))
        out: Tensor = self.fc(self.avgpool(features).flatten(1))
        return out


ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "small-cnn": small_cnn,
    "strided-cnn": strided_cnn,
    "small-resnet": small_resnet,
    "tiny-resnet": tiny_resnet,
    "mlp": mlp,
    "mixer": Mixer,
}

PUBLISHED: dict[str, Callable[[tuple[int, int, int], int], nn.Module]] = {"locuslab/cifar_resnet110": CifarResNet110}
"""Others' architectures; their activations are fixed."""


LIBRARIES = {"timm": timm, "torchvision": torchvision}
"""Packages whose architectures are named `<package>/<name>`."""


def check(name: str, activation: str) -> None:
    """Whether both names exist.

    Raises:
        UnknownNameError: one does not.
    """
    library = name.partition("/")[0]
    known = {*ARCHITECTURES, *PUBLISHED}
    if library in LIBRARIES:
        known = {f"{library}/{variant}" for variant in LIBRARIES[library].architectures()}
    if name not in known:
        raise UnknownNameError("architecture", name, known)
    if activation not in ACTIVATIONS:
        raise UnknownNameError("activation", activation, ACTIVATIONS)


def build(name: str, input_shape: tuple[int, int, int], classes: int, activation: str = "silu") -> nn.Module:
    """Builds a network with random weights.

    Args:
        name: of `ARCHITECTURES`, of `PUBLISHED`, or `torchvision/<name>` or `timm/<name>`.
        input_shape: channels, height, width.
        classes: number of logits.
        activation: of `ACTIVATIONS`; of no effect on others' architectures, which have their own.

    Raises:
        UnknownNameError: no such architecture or activation.
    """
    check(name, activation)
    library, _, variant = name.partition("/")
    if library in LIBRARIES:
        network: nn.Module = LIBRARIES[library].untrained(variant, input_shape, classes)
        return network
    if name in PUBLISHED:
        return PUBLISHED[name](input_shape, classes)
    return ARCHITECTURES[name](input_shape, classes, activation)


def build_for(card: ModelCard) -> nn.Module:
    """The network of a card that names its architecture, with random weights; see `build`.

    Raises:
        CardError: it is one of `ARCHITECTURES`, and the card leaves its activation open.
    """
    if card.architecture in ARCHITECTURES and card.activation is None:
        raise CardError(f"{card.id}: {NEEDS_ACTIVATION.format(card.architecture)}")
    assert card.architecture and card.input_shape and card.classes  # by the card's validation
    return build(card.architecture, card.input_shape, card.classes, card.activation or "silu")
