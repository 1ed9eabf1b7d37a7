"""Mimi, the codec: sound to latents (to clone a voice), latents to sound (to speak).

    encoder: sound -> SEANet -> transformer -> downsample -> 12.5 rows a second
    decoder: latent -> projection -> upsample -> transformer -> SEANet -> 1920 samples

The decoder streams: what its layers remember is in a `DecoderState`. It always computes one frame at a time,
however many it is given. A float product may round differently with another number of rows (BLAS chooses
its blocking by the shape), so this is what makes audio in chunks equal audio in one piece bit for bit.
Official: `models/mimi.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pocketquant.config.schema import MimiConfig, MimiTransformerConfig
from pocketquant.errors import AudioError, ConfigError
from pocketquant.model.conv import Conv1d, Stream, Upsample
from pocketquant.model.layers import Layers, Linear, linear_weight
from pocketquant.model.seanet import seanet_decoder, seanet_encoder
from pocketquant.model.transformer import Caches, ProjectedTransformer, TransformerSizes
from pocketquant.ops.interface import F32


@dataclass
class DecoderState:
    """What the decoder remembers of one utterance."""

    caches: Caches
    stream: Stream = field(default_factory=dict)


class MimiDecoder:
    """Latents to sound. It holds weights only."""

    def __init__(self, config: MimiConfig, layers: Layers) -> None:
        """Build it from the tensors `mimi.*`.

        Args:
            config: the codec's config.
            layers: positioned at `mimi`.

        Raises:
            CheckpointError: a tensor is missing or has another shape.
            ConfigError: the config asks for more than one channel.
        """
        seanet, quantizer = config.decoder_side_seanet, config.quantizer
        if seanet.channels != 1:
            raise ConfigError(
                f"mimi.seanet.channels is {seanet.channels}; only mono models can be spoken with"
            )
        projection = layers.stored(
            "quantizer.output_proj.weight", quantizer.output_dimension, quantizer.dimension, 1
        )
        self.project = Linear(layers.ops, layers.ops.pack(linear_weight(projection, "int16")))
        self.frame_size = config.frame_size
        self.stride = config.resample_stride
        self.upsample = (
            Upsample(layers.at("upsample"), config.upsample_dim, seanet.dimension, self.stride)
            if self.stride > 1
            else None
        )
        self.transformer = _transformer(layers.at("decoder_transformer"), config.decoder_side_transformer)
        self.seanet = seanet_decoder(layers.at("decoder"), seanet)

    def new_state(self) -> DecoderState:
        """The state before the first frame."""
        stack = self.transformer.transformer
        window = stack.sizes.context or 0
        return DecoderState(stack.new_caches(2 * window + self.stride))

    def decode(self, latents: F32, state: DecoderState) -> F32:
        """Latents `[T, dimension]` (see `FlowLM.to_codec`) to sound `[T * frame_size]`, frame by frame."""
        frames = [self.decode_frame(latents[t : t + 1], state) for t in range(latents.shape[0])]
        return np.concatenate(frames) if frames else np.zeros(0, np.float32)

    def decode_frame(self, latent: F32, state: DecoderState) -> F32:
        """One latent `[1, dimension]` to sound `[frame_size]`, float32, nominally in -1..1."""
        return self.render(self.features(latent, state), state)

    def features(self, latent: F32, state: DecoderState) -> F32:
        """The first half of `decode_frame`: to `[stride, dim]`, what the convolutions read."""
        x = self.project(latent)
        if self.upsample is not None:
            x = self.upsample(x, state.stream)
        return self.transformer(x, state.caches)

    def render(self, features: F32, state: DecoderState) -> F32:
        """The second half: to sound. No layer of it is in the first one, and each has an entry of its own in the
        state, so two threads may take a half each."""
        return self.seanet(features, state.stream).reshape(-1)


class MimiEncoder:
    """A whole recording to latents. It holds weights only."""

    def __init__(self, config: MimiConfig, layers: Layers) -> None:
        """Build it from the tensors `mimi.*`; arguments and errors as for `MimiDecoder`."""
        self.frame_size = config.frame_size
        self.channels = config.seanet.channels
        self.seanet = seanet_encoder(layers.at("encoder"), config.seanet)
        self.transformer = _transformer(layers.at("encoder_transformer"), config.transformer)
        stride = config.resample_stride
        self.downsample = (
            Conv1d(
                layers.at("downsample.conv"),
                config.seanet.dimension,
                config.encoded_dim,
                2 * stride,
                stride=stride,
                bias=False,
                pad_mode="replicate",
            )
            if stride > 1
            else None
        )

    def encode(self, audio: F32) -> F32:
        """Encode a recording.

        Args:
            audio: mono samples `[T]` at the model's rate. Zeros fill the last frame.

        Returns:
            float32 `[ceil(T / frame_size), encoded_dim]`.

        Raises:
            AudioError: there are no samples.
        """
        if audio.ndim != 1 or audio.size == 0 or self.channels != 1:
            raise AudioError(
                f"a voice prompt is mono samples [T], T > 0, not an array of shape {list(audio.shape)}"
            )
        x = np.pad(audio.astype(np.float32, copy=False), (0, -audio.size % self.frame_size))[:, None]
        x = self.seanet(x, {})
        x = self.transformer(x, self.transformer.transformer.new_caches(x.shape[0]))
        return x if self.downsample is None else self.downsample(x, {})


def _transformer(layers: Layers, config: MimiTransformerConfig) -> ProjectedTransformer:
    sizes = TransformerSizes(
        layers=config.num_layers,
        dim=config.d_model,
        heads=config.num_heads,
        kv_heads=config.num_heads,
        head_dim=config.head_dim,
        hidden=config.dim_feedforward,
        max_period=config.max_period,
        context=config.context,
        layer_scale=True,
    )
    return ProjectedTransformer(
        layers, sizes, "int16", input_dim=config.input_dimension, output_dim=config.output_dimensions[0]
    )
