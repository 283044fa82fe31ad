"""Networks that pagbench builds under no name, and a graph that keeps every rule, for tests to break."""

import json

import torch
from torch import nn

SHAPE, CLASSES = (1, 8, 8), 10


class Residual(nn.Module):
    """Writes into its own values, as torchvision's networks do."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 6, 3, padding=1, bias=False)
        self.norm, self.second = nn.BatchNorm2d(6), nn.Conv2d(6, 6, 3, padding=1)
        self.act, self.head = nn.ReLU(inplace=True), nn.Linear(6, CLASSES)

    def forward(self, x):
        x = self.act(self.norm(self.first(x)))
        x = self.second(x) + x
        x += 1
        x = self.act(x)
        return self.head(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


class Attention(nn.Module):
    """Patches, a class token, attention, a constant made on the way."""

    def __init__(self):
        super().__init__()
        self.patches, self.token = nn.Conv2d(1, 8, 2, stride=2), nn.Parameter(torch.randn(1, 1, 8))
        self.norm, self.qkv, self.head = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, CLASSES)
        self.drop = nn.Dropout(0.1)

    def forward(self, x):
        tokens = self.patches(x).flatten(2).mT
        tokens = torch.cat([self.token.expand(x.shape[0], -1, -1), tokens], dim=1) * torch.tensor(1.5)
        q, k, v = self.qkv(self.norm(tokens)).reshape(x.shape[0], -1, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        first, _ = self.drop(tokens + nn.functional.gelu(mixed)).split([1, 16], dim=1)
        return self.head(first[:, 0])


class Rough(nn.Module):
    """Writes into a part of a tensor, which only PyTorch itself can take apart; and looks up a table by places."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, CLASSES)
        self.table = nn.Parameter(torch.randn(5))
        self.register_buffer("places", torch.tensor([0, 4, 2, 1]), persistent=False)

    def forward(self, x):
        x = nn.functional.silu(self.conv(x))
        mask = x.new_zeros(6, 6)
        mask[2:, :] = 1
        return self.head((x * mask).amax((2, 3)) + self.table[self.places])


def silu_cnn():
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), nn.SiLU(), nn.Flatten(), nn.Linear(96, CLASSES),
    )  # fmt: skip


def network(build):
    """One with random weights, whose running statistics are not those of a new one."""
    torch.manual_seed(0)
    built = build()
    for _ in range(2):
        built(torch.rand(16, *SHAPE))
    return built.eval()


def small():
    """A graph by hand: its JSON as a value, and its weights."""
    nodes = [
        ("sym_size.int", {"self": "x", "dim": 0}, ["b"]),
        ("conv2d.default", {"input": "x", "weight": "c.weight", "stride": [2, 2]}, ["c"]),
        ("silu.default", {"self": "c"}, ["s"]),
        ("reshape.default", {"self": "s", "shape": ["b", -1]}, ["f"]),
        ("linear.default", {"input": "f", "weight": "l.weight", "bias": None}, ["y"]),
    ]
    value = {"format": "pagbench graph 1", "input": "x", "output": "y"}
    value["nodes"] = [dict(zip(("op", "args", "out"), node, strict=True)) for node in nodes]
    state = {"c.weight": torch.randn(2, 1, 3, 3), "l.weight": torch.randn(CLASSES, 18)}
    return json.loads(json.dumps(value)), state
