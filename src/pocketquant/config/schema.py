"""The model config: the YAML file that comes with a Pocket TTS checkpoint.

Field names, defaults and meaning are those of the official package (pocket-tts 4.0.1, `utils/config.py`), so
that every config written for it loads here and every config written here loads there. Everything that other
parts derive from a config (head sizes, frame size, which side of Mimi has which width) is a property here, so
that the rule is written down once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from pocketquant.config.parse import explain, parse_mapping
from pocketquant.errors import ConfigError

Positive = Annotated[int, Field(gt=0)]
# Numbers of layers: the limit only keeps a damaged config from listing billions of tensors.
Count = Annotated[int, Field(ge=0, le=1000)]
PositiveFloat = Annotated[float, Field(gt=0)]
DType = Literal["float32", "float16", "bfloat16"]
FlowType = Literal["lsd", "flow_matching", "drifting", "pointwise"]

_TIME_CONDITIONS: dict[str, int] = {"lsd": 2, "flow_matching": 1, "drifting": 0, "pointwise": 0}


class _Model(BaseModel):
    """Unknown fields are errors, values cannot be changed in place, NaN and infinity are no numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class FlowConfig(_Model):
    """The flow head, which turns noise and the language model's output into one latent."""

    dim: Positive
    """Width of the head."""
    depth: Count
    """Number of residual blocks."""
    type: FlowType = "lsd"
    """How the head is sampled: lsd x += v(s, t, x)/n; flow_matching x += v(t, x)/n (Euler);
    drifting x = v(noise); pointwise x = noise + v(noise)."""

    @property
    def num_time_conditions(self) -> int:
        """Number of time inputs, each with an embedder of its own (`flow_net.time_embed.N`): lsd 2,
        flow_matching 1, drifting and pointwise 0."""
        return _TIME_CONDITIONS[self.type]


class FlowLMTransformerConfig(_Model):
    """The causal transformer of the language model."""

    hidden_scale: int
    """Feed-forward width as a multiple of `d_model`, unless `dim_feedforward` is given."""
    max_period: PositiveFloat
    """Longest period of the rotary position embedding."""
    d_model: Positive
    num_heads: Positive
    num_layers: Count
    attn_dim: Positive | None = None
    """Width of the queries and of the attention output; `d_model` when None."""
    num_kv_heads: Positive | None = None
    """Key and value heads, each shared by `num_heads / num_kv_heads` query heads; `num_heads` when None."""
    dim_feedforward: Positive | None = None

    @model_validator(mode="after")
    def _heads_divide(self) -> FlowLMTransformerConfig:
        if self.attention_dim % self.num_heads:
            raise ValueError(
                f"num_heads {self.num_heads} does not divide the attention width {self.attention_dim}"
            )
        if self.head_dim % 2:
            raise ValueError(f"the head size {self.head_dim} is odd; rotary embeddings need pairs")
        if self.num_heads % self.kv_heads:
            raise ValueError(f"num_kv_heads {self.kv_heads} does not divide num_heads {self.num_heads}")
        if self.feedforward_dim <= 0:
            raise ValueError(f"hidden_scale {self.hidden_scale} gives no feed-forward width")
        return self

    @property
    def attention_dim(self) -> int:
        """Width of the queries and of the attention output."""
        return self.attn_dim or self.d_model

    @property
    def kv_heads(self) -> int:
        return self.num_kv_heads or self.num_heads

    @property
    def head_dim(self) -> int:
        return self.attention_dim // self.num_heads

    @property
    def kv_dim(self) -> int:
        """Width of the keys, and of the values: `kv_heads * head_dim`."""
        return self.kv_heads * self.head_dim

    @property
    def qkv_dim(self) -> int:
        """Rows of `self_attn.in_proj.weight`: queries, then keys, then values."""
        return self.attention_dim + 2 * self.kv_dim

    @property
    def feedforward_dim(self) -> int:
        return self.dim_feedforward or self.d_model * self.hidden_scale


class LookupTableConfig(_Model):
    """The text embedding and its tokenizer."""

    dim: Positive
    n_bins: Positive
    """Number of pieces in the tokenizer. The table has one row more, for padding."""
    tokenizer: str
    """"sentencepiece" or "tokenizers"; see `tokenizer_kind`."""
    tokenizer_path: str
    rank: Positive | None = None
    """Low-rank table: embeddings this wide and a projection to `dim` without bias; a full table when None."""

    @property
    def rows(self) -> int:
        """Rows of the embedding table: the pieces and one for padding."""
        return self.n_bins + 1

    @property
    def embedding_dim(self) -> int:
        """Columns of the embedding table."""
        return self.rank or self.dim

    @property
    def tokenizer_kind(self) -> Literal["tokenizers", "sentencepiece"]:
        """The official rule (`modules/text_conditioner.py`): "tokenizers" where the field says that or
        "json", or where the path without its @revision ends in .json; else sentencepiece."""
        if self.tokenizer in ("tokenizers", "json") or self.tokenizer_path.split("@")[0].endswith(".json"):
            return "tokenizers"
        return "sentencepiece"


class FlowLMConfig(_Model):
    """The language model: text and past latents in, the next latent out."""

    dtype: DType
    flow: FlowConfig
    transformer: FlowLMTransformerConfig
    z_dim: Positive | None = None
    """Width of what the flow head and the end-of-speech head see: `z_proj` (no bias) maps `d_model` to it;
    when None they see the transformer's output itself."""
    lookup_table: LookupTableConfig
    weights_path: str | None = None
    """FlowLM weights in a file of their own (the older naming); needs `mimi.weights_path`."""
    insert_bos_before_voice: bool = False

    @model_validator(mode="after")
    def _table_fits(self) -> FlowLMConfig:
        if self.lookup_table.dim != self.transformer.d_model:
            raise ValueError(
                f"lookup_table.dim {self.lookup_table.dim} must equal "
                f"transformer.d_model {self.transformer.d_model}"
            )
        return self

    @property
    def condition_dim(self) -> int:
        """Width of the backbone's output as the flow head and the end-of-speech head see it."""
        return self.z_dim or self.transformer.d_model


class SEANetConfig(_Model):
    """The convolutional encoder or decoder of Mimi."""

    dimension: Positive
    channels: Positive
    n_filters: Positive
    n_residual_layers: Count
    ratios: Annotated[list[Positive], Field(min_length=1, max_length=16)]
    """Upsampling factors in the decoder's order; the encoder goes through them backwards."""
    kernel_size: Positive
    residual_kernel_size: Positive
    last_kernel_size: Positive
    dilation_base: Positive
    pad_mode: Literal["constant", "replicate"]
    compress: Positive
    """The hidden width of a residual block is its width divided by this."""

    @property
    def hop_length(self) -> int:
        """Samples per SEANet frame: the product of the ratios."""
        product = 1
        for ratio in self.ratios:
            product *= ratio
        return product


class MimiTransformerConfig(_Model):
    """The windowed transformer on either side of Mimi."""

    d_model: Positive
    input_dimension: Positive
    output_dimensions: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=1)]
    num_heads: Positive
    num_layers: Count
    layer_scale: float
    """Initial value of the layer scales (trained checkpoints carry their own)."""
    context: Positive
    """Positions that attention looks back over, the current one included."""
    max_period: PositiveFloat = 10000.0
    dim_feedforward: Positive

    @model_validator(mode="after")
    def _heads_divide(self) -> MimiTransformerConfig:
        if self.d_model % self.num_heads or self.head_dim % 2:
            raise ValueError(
                f"num_heads {self.num_heads} does not divide d_model {self.d_model} into even heads"
            )
        return self

    @property
    def head_dim(self) -> int:
        return self.d_model // self.num_heads


class QuantizerConfig(_Model):
    """What is left of Mimi's quantizer: the projection from the latent to the decoder's width."""

    dimension: Positive
    """Width of a latent."""
    output_dimension: Positive


class MimiConfig(_Model):
    """The codec: sound to latents (voice cloning only), latents to sound."""

    dtype: DType
    sample_rate: Positive
    channels: Positive
    frame_rate: PositiveFloat
    seanet: SEANetConfig
    transformer: MimiTransformerConfig
    quantizer: QuantizerConfig
    weights_path: str | None = None
    inner_dim: Positive | None = None
    """Width of what the encoder gives out; `seanet.dimension` when None."""
    outer_dim: Positive | None = None
    """Width of what the upsampling takes in; the decoder's `dimension` when None."""
    decoder_seanet: SEANetConfig | None = None
    decoder_transformer: MimiTransformerConfig | None = None

    @model_validator(mode="after")
    def _rates_fit(self) -> MimiConfig:
        if self.decoder_side_seanet.hop_length != self.seanet.hop_length:
            raise ValueError(
                f"decoder_seanet.ratios give {self.decoder_side_seanet.hop_length} samples a frame, "
                f"seanet.ratios {self.seanet.hop_length}; they must agree"
            )
        stride = self.encoder_frame_rate / self.frame_rate
        if stride < 1 or stride != int(stride):
            raise ValueError(
                f"frame_rate {self.frame_rate} must divide the rate {self.encoder_frame_rate:g} "
                "that sample_rate and seanet.ratios give"
            )
        if self.resample_stride > 1 and self.upsample_dim % self.decoder_side_seanet.dimension:
            raise ValueError(
                f"outer_dim {self.upsample_dim} is no multiple of the decoder's dimension "
                f"{self.decoder_side_seanet.dimension}"
            )
        return self

    @property
    def decoder_side_seanet(self) -> SEANetConfig:
        """`decoder_seanet`, or the encoder's sizes where that is None."""
        return self.decoder_seanet or self.seanet

    @property
    def decoder_side_transformer(self) -> MimiTransformerConfig:
        """`decoder_transformer`, or the encoder's sizes where that is None."""
        return self.decoder_transformer or self.transformer

    @property
    def frame_size(self) -> int:
        """Samples per latent frame (1920 at 24 kHz and 12.5 frames a second)."""
        return int(self.sample_rate / self.frame_rate)

    @property
    def encoder_frame_rate(self) -> float:
        """Frames per second inside SEANet and the transformers (200 Hz for the official models)."""
        return self.sample_rate / self.seanet.hop_length

    @property
    def resample_stride(self) -> int:
        """SEANet frames per latent frame (16 for the official models); 1: there is no resampling layer."""
        return int(self.encoder_frame_rate / self.frame_rate)

    @property
    def encoded_dim(self) -> int:
        """Width of what the encoder gives out: the columns of `flow_lm.speaker_proj_weight`."""
        return self.inner_dim or self.seanet.dimension

    @property
    def upsample_dim(self) -> int:
        """Width of what the upsampling takes in."""
        return self.outer_dim or self.decoder_side_seanet.dimension


def _one_character(value: object) -> object:
    if isinstance(value, str) and len(value) != 1:
        raise ValueError(f"the key {value!r} is not one character")
    return value


class ModelConfig(_Model):
    """A whole model: the root of the YAML file."""

    flow_lm: FlowLMConfig
    mimi: MimiConfig
    weights_path: str | None = None
    weights_path_without_voice_cloning: str | None = None
    """Taken where `weights_path` cannot be downloaded (the official one asks for accepted terms)."""
    pad_with_spaces_for_short_inputs: bool = False
    remove_semicolons: bool = False
    append_terminal_punctuation: bool = True
    capitalize_first_letter: bool = True
    replace_characters: dict[Annotated[str, BeforeValidator(_one_character)], str] = {}
    """Rewrites of single characters before tokenization; "" deletes."""
    model_recommended_frames_after_eos: int | None = None
    default_temperature: float = 0.3
    default_eos_threshold: float = -4.0

    @field_validator("weights_path", "weights_path_without_voice_cloning")
    @classmethod
    def _not_empty(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            raise ValueError("is empty; give a path or leave the field out")
        return value

    @property
    def sample_rate(self) -> int:
        return self.mimi.sample_rate

    @property
    def frame_size(self) -> int:
        """Samples per latent frame."""
        return self.mimi.frame_size

    @property
    def latent_dim(self) -> int:
        """Width of a latent: what the language model predicts per frame."""
        return self.mimi.quantizer.dimension

    @classmethod
    def from_yaml(cls, text: str | bytes, source: str | Path = "config") -> ModelConfig:
        """Parse the text of a YAML config.

        Args:
            text: the YAML.
            source: where it came from, for the error line.

        Raises:
            ConfigError: no YAML, an unknown or missing field, a value of the wrong kind or out of range,
                sizes that contradict each other. One line: source, field, remedy.
        """
        return cls.from_dict(parse_mapping(text, source), source)

    @classmethod
    def from_dict(cls, data: dict[str, Any], source: str | Path = "config") -> ModelConfig:
        """The same for a mapping that is already parsed."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise ConfigError(explain(error, cls, source)) from error

    @classmethod
    def from_file(cls, path: str | Path) -> ModelConfig:
        """Read and parse a local YAML file."""
        try:
            return cls.from_yaml(Path(path).read_bytes(), path)
        except OSError as error:
            raise ConfigError(
                f"{path}: cannot be read ({error.strerror}); give the path of a YAML config"
            ) from error

    def with_paths(self, *, weights: str, tokenizer: str) -> ModelConfig:
        """The same model with its weights in one file at `weights` and its tokenizer at `tokenizer`."""
        table = self.flow_lm.lookup_table.model_copy(update={"tokenizer_path": tokenizer})
        return self.model_copy(
            update={
                "weights_path": weights,
                "weights_path_without_voice_cloning": None,
                "flow_lm": self.flow_lm.model_copy(update={"lookup_table": table, "weights_path": None}),
                "mimi": self.mimi.model_copy(update={"weights_path": None}),
            }
        )

    def to_yaml(self) -> str:
        """The config as YAML that the official package loads too; `from_yaml(c.to_yaml()) == c`.

        Defaults are written out (an upstream default that changes later must not change this model), fields
        that are None are left out.
        """
        data = self.model_dump(mode="json", exclude_none=True)
        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=110)
        if parse_mapping(text, "") != data:  # rare line separators, which PyYAML keeps only when escaped
            text = yaml.safe_dump(data, sort_keys=False, width=110)
        return text
