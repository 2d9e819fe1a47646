"""OpenAI's discrete VAE, the one that DALL·E was trained with: its two networks and its
weights under our names.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from minilib.interop.names import State, renamed

GROUPS = 4  # of blocks; between two of them the resolution changes


@dataclass(frozen=True)
class DalleConfig:
    """Sizes of the published networks: 8,192 codes, 32×32 of them for 256×256 pixels.
    The decoder starts `decoder_stem` channels wide.
    """

    codes: int = 8192
    width: int = 256
    blocks: int = 2  # in a group
    decoder_stem: int = 128


def convolution(channels_in: int, channels_out: int, kernel: int) -> nn.Conv2d:
    """A convolution that keeps the resolution; kernel is odd."""
    return nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2)


class DalleBlock(nn.Module):
    """h (B, channels_in, H, W) → (B, channels_out, H, W): a bottleneck of four
    convolutions, whose result counts 1/layers² of what it is added to.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        layers: int,
        kernels: tuple[int, int, int, int],
    ):
        super().__init__()
        inner = channels_out // 4
        widths = (channels_in, inner, inner, inner, channels_out)
        self.skip: nn.Module = nn.Identity()
        if channels_in != channels_out:
            self.skip = convolution(channels_in, channels_out, 1)
        self.residual = nn.Sequential()
        for i, kernel in enumerate(kernels):
            self.residual.append(nn.ReLU())
            self.residual.append(convolution(widths[i], widths[i + 1], kernel))
        self.gain = 1 / layers**2

    def forward(self, h: Tensor) -> Tensor:
        return self.skip(h) + self.gain * self.residual(h)


def groups(
    widths: list[int],
    blocks: int,
    kernels: tuple[int, int, int, int],
    resize: nn.Module,
) -> nn.Sequential:
    """Four groups of blocks, the first from widths[0] to widths[1] channels and so on;
    `resize` stands between two groups.
    """
    found = nn.Sequential()
    for i in range(GROUPS):
        group = nn.Sequential()
        for block in range(blocks):
            channels_in = widths[i + 1] if block else widths[i]
            group.append(
                DalleBlock(channels_in, widths[i + 1], GROUPS * blocks, kernels)
            )
        if i < GROUPS - 1:
            group.append(resize)
        found.append(group)
    return found


class DalleEncoder(nn.Module):
    """Pictures x (B, 3, H, W), whose pixels `map_pixels` took to 0.1 … 0.9 → logits of
    the codes (B, codes, H/8, W/8). H and W are multiples of 8.
    """

    def __init__(self, config: DalleConfig = DalleConfig()):
        super().__init__()
        w = config.width
        self.stem = convolution(3, w, 7)
        self.groups = groups(
            [w, w, 2 * w, 4 * w, 8 * w], config.blocks, (3, 3, 3, 1), nn.MaxPool2d(2)
        )
        self.out = convolution(8 * w, config.codes, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.groups(self.stem(x))  # (B, 8·width, H/8, W/8)
        return self.out(h.relu())


class DalleDecoder(nn.Module):
    """Codes y (B, codes, h, w), one-hot or relaxed → (B, 6, 8h, 8w): location and log
    scale of the logit-Laplace distribution of three colours.

    `unmap_pixels` of the sigmoid of the first three channels is the picture.
    """

    def __init__(self, config: DalleConfig = DalleConfig()):
        super().__init__()
        w, stem = config.width, config.decoder_stem
        self.stem = convolution(config.codes, stem, 1)
        self.groups = groups(
            [stem, 8 * w, 4 * w, 2 * w, w],
            config.blocks,
            (1, 3, 3, 3),
            nn.Upsample(scale_factor=2, mode="nearest"),
        )
        self.out = convolution(w, 6, 1)

    def forward(self, y: Tensor) -> Tensor:
        h = self.groups(self.stem(y))  # (B, width, 8h, 8w)
        return self.out(h.relu())


BLOCK = r"blocks\.group_(\d)\.block_(\d)\."
KINDS = {"w": "weight", "b": "bias"}


def from_dalle(state: State) -> dict[str, Tensor]:
    """The weights of the package DALL-E's encoder or decoder under the names of our
    `DalleEncoder` or `DalleDecoder`. Raises ValueError for a key that it does not know.
    """
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        stem, _, kind = key.rpartition(".")
        name = renamed(stem, OF_DALLE)
        if kind not in KINDS:
            raise ValueError(f"unknown key {key!r}: expected it to end in .w or .b")
        found[f"{counted(name)}.{KINDS[kind]}"] = value
    return found


OF_DALLE = [
    (r"blocks\.input", r"stem"),
    (r"blocks\.output\.conv", r"out"),
    (BLOCK + r"id_path", r"groups.\1.\2.skip"),
    (BLOCK + r"res_path\.conv_(\d)", r"groups.\1.\2.residual.\3"),
]


def counted(name: str) -> str:
    """Groups, blocks and convolutions count from 1 there, and from 0 here, where the
    convolutions' places are every second one, behind a ReLU.
    """
    parts = name.split(".")
    if parts[0] == "groups":
        parts[1:3] = [str(int(number) - 1) for number in parts[1:3]]
        parts[4:] = [str(2 * int(number) - 1) for number in parts[4:]]
    return ".".join(parts)
