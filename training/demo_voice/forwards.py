"""The official modules over whole sequences at once, for training.

Their own forwards stream: they carry a state from call to call. The functions here run the same parameters
over complete, padded batches; `largest_differences` shows that both give the same numbers.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from pocket_tts.models.flow_lm import FlowLMModel
from pocket_tts.models.mimi import MimiModel
from pocket_tts.models.tts_model import TTSModel
from pocket_tts.modules.conv import StreamingConv1d, StreamingConvTranspose1d
from pocket_tts.modules.seanet import SEANetResnetBlock
from pocket_tts.modules.stateful_module import increment_steps, init_states
from pocket_tts.modules.transformer import StreamingTransformerLayer
from torch import Tensor, nn
from torch.nn import functional

from .layout import LATENT, PIECES

NEVER = -1e9  # logit of a position that must not be looked at


def _convolve(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    """A SEANet stack, [B, channels, time]: causal, from a zero state."""
    for layer in layers:
        if isinstance(layer, SEANetResnetBlock):
            x = x + _convolve(layer.block, x)
        elif isinstance(layer, StreamingConv1d):
            x = layer.conv(functional.pad(x, (layer._effective_kernel_size - layer._stride, 0)))
        elif isinstance(layer, StreamingConvTranspose1d):
            x = layer.convtr(x)[..., : layer._stride - layer._kernel_size]
        else:
            x = layer(x)
    return x


def decode_latents(mimi: MimiModel, latents: Tensor) -> Tensor:
    """[B, T, 32] latents to [B, T * 1920] samples."""
    x = _convolve([mimi.upsample.convtr], mimi.quantizer(latents.transpose(1, 2)))
    (x,) = mimi.decoder_transformer(x, None)
    return _convolve(mimi.decoder.model, x)[:, 0]


def _rotate(x: Tensor, angle: Tensor) -> Tensor:
    """Rotary embedding of [B, L, heads, d] by [L, 1, d / 2] angles; neighbouring numbers are a pair."""
    even, odd = x[..., 0::2].float(), x[..., 1::2].float()
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)


def _layer(
    layer: StreamingTransformerLayer, x: Tensor, angle: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """One transformer layer, [B, L, width]; also its rotated queries and keys, [B, heads, L, d].

    Attention stays in float32 under autocast: PyTorch's bfloat16 attention is slow to differentiate on CPUs."""
    attention = layer.self_attn
    b, length, width = x.shape
    heads = attention.num_heads
    projected = attention.in_proj(layer.norm1(x)).view(b, length, 3, heads, width // heads)
    q, k, v = (part.transpose(1, 2) for part in projected.unbind(2))
    q, k = (
        _rotate(q.transpose(1, 2), angle).transpose(1, 2),
        _rotate(k.transpose(1, 2), angle).transpose(1, 2),
    )
    mixed = functional.scaled_dot_product_attention(q, k, v.float(), bias)
    x = x + attention.out_proj(mixed.transpose(1, 2).reshape(b, length, width))
    hidden = functional.gelu(layer.linear1(layer.norm2(x)), approximate="tanh")
    return x + layer.linear2(hidden), q, k


def _log_mass(q: Tensor, k: Tensor, bias: Tensor, allowed: Tensor) -> Tensor:
    """Log of the attention that queries [B, L, d] put on allowed keys ([B, L, L]): [B, L]."""
    logits = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1]) + bias
    return torch.logsumexp(logits.masked_fill(~allowed, NEVER), -1) - torch.logsumexp(logits, -1)


def predict_latents(
    flow_lm: FlowLMModel,
    tokens: Tensor,
    n_tokens: Tensor,
    latents: Tensor,
    n_frames: Tensor,
    guides: Sequence[tuple[int, int]] = (),
    allowed: Tensor | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """Transformer outputs that predict each latent from the text and the latents before it.

    tokens [B, N] and latents [B, T, 32] are padded; row i holds n_tokens[i] and n_frames[i] of them and is laid
    out without gaps as at inference: [bos_before_voice, text, BOS latent, all latents but the last]. Returns
    [B, T, width] (zero beyond a row's frames) and, for each (layer, head) of `guides`, the log attention mass
    [B, T] that it puts on the text allowed for a frame ([B, T, N] bool)."""
    b, n, t, device = tokens.shape[0], tokens.shape[1], latents.shape[1], tokens.device
    length = int((n_tokens + n_frames).max()) + 1
    rows = torch.arange(b, device=device)[:, None]
    # Padding goes to one column too many, which is cut off.
    text_at, audio_at = torch.arange(n, device=device)[None], torch.arange(t, device=device)[None]
    real = audio_at < n_frames[:, None]
    text_at = torch.where(text_at < n_tokens[:, None], 1 + text_at, length)
    audio_at = torch.where(real, 1 + n_tokens[:, None] + audio_at, length)
    before = torch.cat([flow_lm.bos_emb.expand(b, 1, -1), latents[:, :-1]], 1)
    x = torch.zeros(b, length + 1, flow_lm.dim, device=device)
    x = x.index_put((rows, text_at), flow_lm.conditioner(tokens).float())
    x = x.index_put((rows, audio_at), flow_lm.input_linear(before).float())
    x = torch.cat([flow_lm.bos_before_voice.expand(b, 1, -1), x[:, 1:length]], 1)

    attention = flow_lm.transformer.layers[0].self_attn
    pair = torch.arange(attention.dim_per_head // 2, device=device)
    speed = torch.exp(pair * (-math.log(attention.rope.max_period) * 2 / attention.dim_per_head))
    angle = (torch.arange(length, device=device)[:, None] * speed)[:, None]
    bias = torch.full((length, length), NEVER, device=device).triu(1)
    looks = torch.zeros(b, length + 1, length + 1, dtype=torch.bool, device=device)
    if allowed is not None:
        looks[rows[:, :, None], audio_at[:, :, None], text_at[:, None, :]] = allowed
    mass = []
    for i, layer in enumerate(flow_lm.transformer.layers):
        x, q, k = _layer(layer, x, angle, bias)
        for head in (head for at, head in guides if at == i):
            found = _log_mass(q[:, head], k[:, head], bias, looks[:, :length, :length])
            mass.append(functional.pad(found, (0, 1)).gather(1, audio_at))
    x = functional.pad(flow_lm.out_norm(x.float()), (0, 0, 0, 1))
    return x[rows, audio_at] * real[..., None], mass


@torch.no_grad()
def largest_differences(model: TTSModel) -> dict[str, float]:
    """Largest absolute differences between the forwards above and the official streaming ones."""
    model = copy.deepcopy(model).float().eval()
    lm, mimi = model.flow_lm, model.mimi
    torch.manual_seed(0)
    latents, tokens = torch.randn(1, 9, LATENT), torch.randint(0, PIECES, (1, 11))
    whole, _ = predict_latents(lm, tokens, torch.tensor([11]), latents, torch.tensor([9]))
    outputs: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        outputs.append(inputs[0])

    state = init_states(lm, 1, 64)
    hook = lm.out_eos.register_forward_pre_hook(keep)
    model._run_flow_lm_and_increment_step(state, audio_conditioning=lm.bos_before_voice)
    model._run_flow_lm_and_increment_step(state, text_tokens=tokens)
    outputs.clear()
    latent = torch.full((1, 1, LATENT), float("nan"))  # the official sign for "begin"
    for i in range(9):
        model._run_flow_lm_and_increment_step(state, backbone_input_latents=latent)
        latent = latents[:, i : i + 1]
    hook.remove()
    state, audio = init_states(mimi, 1, 1000), []
    for i in range(9):
        audio.append(mimi.decode_from_latent(latents[:, i : i + 1], state))
        increment_steps(mimi, state, 16)
    return {
        "flow_lm": (torch.stack(outputs, 1) - whole).abs().max().item(),
        "mimi_decoder": (torch.cat(audio, -1)[:, 0] - decode_latents(mimi, latents)).abs().max().item(),
    }
