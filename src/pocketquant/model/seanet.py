"""SEANet: the convolutions between sound and the codec's 200 frames a second.

The layers carry the official numbers (`modules/seanet.py`), one entry per module, so that each can be called
and compared on its own.
"""

from __future__ import annotations

from pocketquant.config.schema import SEANetConfig
from pocketquant.model.conv import Conv1d, ConvTranspose1d, Stream
from pocketquant.model.layers import Layers
from pocketquant.ops.interface import F32, Ops


class Elu:
    """The activation between blocks. In a chain the convolution behind it takes it over."""

    def __init__(self, ops: Ops) -> None:
        self.ops = ops

    def __call__(self, x: F32, _: Stream) -> F32:
        return self.ops.activate(x, "elu")


class ResBlock:
    """x + conv(elu(conv(elu(x)))): the first convolution looks back, the second is pointwise."""

    def __init__(self, layers: Layers, config: SEANetConfig, dim: int, dilation: int) -> None:
        hidden = dim // config.compress
        self.conv1 = Conv1d(
            layers.at("block.1"),
            dim,
            hidden,
            config.residual_kernel_size,
            dilation=dilation,
            pad_mode=config.pad_mode,
        )
        self.conv2 = Conv1d(layers.at("block.3"), hidden, dim, 1)

    def __call__(self, x: F32, stream: Stream) -> F32:
        """`[T, dim]` to the same."""
        h = self.conv1(x, stream, before="elu", activation="elu")
        return self.conv2(h, stream, residual=x)


Layer = Conv1d | ConvTranspose1d | ResBlock | Elu


class SEANet:
    """A chain of layers; `layers[i]` has the official weights `model.i`."""

    def __init__(self, chain: list[Layer]) -> None:
        self.layers = chain

    def __call__(self, x: F32, stream: Stream) -> F32:
        """Through all layers; what they remember goes to `stream`."""
        for before, layer in zip([None, *self.layers], self.layers, strict=False):
            if isinstance(layer, ResBlock):
                x = layer(x, stream)
            elif not isinstance(layer, Elu):
                x = layer(x, stream, before="elu" if isinstance(before, Elu) else None)
        return x


def seanet_encoder(layers: Layers, c: SEANetConfig) -> SEANet:
    """Sound `[T, channels]` to `[T / hop, dimension]`; each ratio taken doubles the width."""
    chain: list[Layer] = []
    width = c.n_filters

    def here() -> Layers:
        return layers.at(f"model.{len(chain)}")

    chain.append(Conv1d(here(), c.channels, width, c.kernel_size, pad_mode=c.pad_mode))
    for ratio in reversed(c.ratios):
        chain += _residual_blocks(layers, c, width, len(chain))
        chain.append(Elu(layers.ops))
        chain.append(Conv1d(here(), width, 2 * width, 2 * ratio, stride=ratio, pad_mode=c.pad_mode))
        width *= 2
    chain.append(Elu(layers.ops))
    chain.append(Conv1d(here(), width, c.dimension, c.last_kernel_size, pad_mode=c.pad_mode))
    return SEANet(chain)


def seanet_decoder(layers: Layers, c: SEANetConfig) -> SEANet:
    """`[T, dimension]` to sound `[T * hop, channels]`."""
    chain: list[Layer] = []
    width = c.n_filters * 2 ** len(c.ratios)

    def here() -> Layers:
        return layers.at(f"model.{len(chain)}")

    chain.append(Conv1d(here(), c.dimension, width, c.kernel_size, pad_mode=c.pad_mode))
    for ratio in c.ratios:
        chain.append(Elu(layers.ops))
        chain.append(ConvTranspose1d(here(), width, width // 2, ratio))
        width //= 2
        chain += _residual_blocks(layers, c, width, len(chain))
    chain.append(Elu(layers.ops))
    chain.append(Conv1d(here(), width, c.channels, c.last_kernel_size, pad_mode=c.pad_mode))
    return SEANet(chain)


def _residual_blocks(layers: Layers, c: SEANetConfig, width: int, first: int) -> list[Layer]:
    """The residual blocks `model.first ...`, each looking further back."""
    return [
        ResBlock(layers.at(f"model.{first + j}"), c, width, c.dilation_base**j)
        for j in range(c.n_residual_layers)
    ]
