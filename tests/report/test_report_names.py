from __future__ import annotations

import pytest

from pocketquant.report.names import KINDS, PARTS, block_of, kind_of, layer_of, part_of

CASES = [
    ("flow_lm.transformer.layers.3.self_attn.in_proj.weight", "language model", "attention", 3, "layer 3"),
    ("flow_lm.transformer.layers.23.linear2.weight", "language model", "feed-forward", 23, "layer 23"),
    ("flow_lm.transformer.layers.0.norm1.bias", "language model", "norm", 0, "layer 0"),
    ("flow_lm.input_linear.weight", "language model", "projection", None, ""),
    ("flow_lm.z_proj.weight", "language model", "projection", None, ""),
    ("flow_lm.out_norm.weight", "language model", "norm", None, ""),
    ("flow_lm.out_eos.weight", "language model", "head", None, ""),
    ("flow_lm.out_eos.bias", "language model", "bias", None, ""),
    ("flow_lm.emb_std", "language model", "constant", None, ""),
    ("flow_lm.bos_before_voice", "voice", "constant", None, ""),
    ("flow_lm.speaker_proj_weight", "voice", "projection", None, ""),
    ("flow_lm.conditioner.embed.weight", "text embedding", "embedding", None, ""),
    ("flow_lm.conditioner.proj.weight", "text embedding", "projection", None, ""),
    ("flow_lm.flow_net.res_blocks.5.adaLN_modulation.1.weight", "flow head", "modulation", 5, "block 5"),
    ("flow_lm.flow_net.res_blocks.5.mlp.2.weight", "flow head", "feed-forward", 5, "block 5"),
    ("flow_lm.flow_net.res_blocks.5.in_ln.bias", "flow head", "norm", 5, "block 5"),
    ("flow_lm.flow_net.time_embed.1.mlp.3.alpha", "flow head", "norm", 1, "time 1"),
    ("flow_lm.flow_net.time_embed.1.freqs", "flow head", "constant", 1, "time 1"),
    ("flow_lm.flow_net.final_layer.linear.weight", "flow head", "head", None, ""),
    ("mimi.encoder.model.4.block.1.conv.weight", "codec encoder", "conv", 4, "conv 4"),
    (
        "mimi.encoder_transformer.transformer.layers.1.layer_scale_2.scale",
        "codec encoder",
        "layer scale",
        1,
        "layer 1",
    ),
    ("mimi.downsample.conv.conv.weight", "codec encoder", "conv", None, ""),
    ("mimi.upsample.convtr.convtr.weight", "codec decoder", "conv", None, ""),
    ("mimi.quantizer.output_proj.weight", "codec decoder", "conv", None, ""),
    ("mimi.decoder.model.2.convtr.bias", "codec decoder", "bias", 2, "conv 2"),
    (
        "mimi.decoder_transformer.transformer.layers.0.self_attn.out_proj.weight",
        "codec decoder",
        "attention",
        0,
        "layer 0",
    ),
    ("something.new", "other", "other", None, ""),
]


@pytest.mark.parametrize(("name", "part", "kind", "layer", "block"), CASES)
def test_official_names_are_understood(
    name: str, part: str, kind: str, layer: int | None, block: str
) -> None:
    assert (part_of(name), kind_of(name), layer_of(name), block_of(name)) == (part, kind, layer, block)
    assert part in PARTS
    assert kind in KINDS
