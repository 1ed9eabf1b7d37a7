"""Damaged checkpoints: whatever is wrong, one line of ours comes out, in time.

A small official-layout checkpoint is mutated a few thousand times; each mutant is opened and read to the end.
Both outcomes are fine (a flipped weight is still a weight), anything but a `PocketQuantError` of one line is not.
Run with `-s` to see the tally.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocketquant.checkpoint.checkpoint import open_checkpoint
from pocketquant.checkpoint.layout import expected_shapes
from pocketquant.checkpoint.random import random_tensor
from pocketquant.config import ModelConfig, catalog
from pocketquant.errors import PocketQuantError

LIMIT_S = 30.0
Header = dict[str, Any]
Random = np.random.Generator


def tiny_config() -> ModelConfig:
    """A model of a few kilobytes."""
    data = catalog.language("english_2m_2026-10").model_dump(mode="json", exclude_none=True)
    data["flow_lm"] |= {"z_dim": 4, "flow": {"dim": 4, "depth": 1, "type": "lsd"}}
    data["flow_lm"]["transformer"] = {
        "d_model": 8,
        "num_heads": 2,
        "num_layers": 1,
        "hidden_scale": 1,
        "max_period": 10000,
    }
    data["flow_lm"]["lookup_table"] |= {"dim": 8, "n_bins": 10, "rank": 2}
    seanet = data["mimi"]["seanet"] | {"dimension": 4, "n_filters": 2, "ratios": [2]}
    transformer = data["mimi"]["transformer"] | {
        "d_model": 4,
        "input_dimension": 4,
        "output_dimensions": [4],
        "num_heads": 2,
        "num_layers": 1,
        "dim_feedforward": 4,
    }
    data["mimi"] |= {"seanet": seanet, "transformer": transformer, "decoder_transformer": transformer}
    data["mimi"]["frame_rate"] = 6000
    data["mimi"] |= {"decoder_seanet": seanet, "inner_dim": 4, "outer_dim": 4}
    data["mimi"]["quantizer"] = {"dimension": 4, "output_dimension": 4}
    return ModelConfig.from_dict(data).with_paths(weights="model.safetensors", tokenizer="tokenizer.model")


def encode(header: Header | bytes, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def layout(config: ModelConfig) -> tuple[Header, bytes]:
    header: Header = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, shape in expected_shapes(config).items():
        values = random_tensor(name, shape).tobytes()
        header[name] = {
            "dtype": "F32",
            "shape": list(shape),
            "data_offsets": [len(data), len(data) + len(values)],
        }
        data += values
    return header, data


# --- mutations: each takes (random, header, data) and gives the bytes of a file


def truncate(random: Random, header: Header, data: bytes) -> bytes:
    whole = encode(header, data)
    head = len(whole) - len(data)
    middle = int(random.integers(head, len(whole)))
    places = [int(random.integers(16)), int(random.integers(head)), head, middle, len(whole) - 1]
    return whole[: int(random.choice(places))]


def flip_header_bits(random: Random, header: Header, data: bytes) -> bytes:
    whole = bytearray(encode(header, data))
    for _ in range(random.integers(1, 4)):
        whole[random.integers(0, len(whole) - len(data))] ^= 1 << random.integers(0, 8)
    return bytes(whole)


def flip_data_bits(random: Random, header: Header, data: bytes) -> bytes:
    mutable = bytearray(data)
    for _ in range(random.integers(1, 20)):
        mutable[random.integers(0, len(data))] ^= 1 << random.integers(0, 8)
    return encode(header, bytes(mutable))


def lie_about_the_length(random: Random, header: Header, data: bytes) -> bytes:
    whole = encode(header, data)
    true = int.from_bytes(whole[:8], "little")
    lies = [
        0,
        1,
        2,
        true - 1,
        true + 1,
        true * 2,
        len(whole),
        1 << 31,
        1 << 32,
        (1 << 63) - 1,
        1 << 63,
        (1 << 64) - 1,
    ]
    return int(random.choice(np.array(lies, np.uint64))).to_bytes(8, "little") + whole[8:]


def _entry(random: Random, header: Header) -> Header:
    names = [name for name in header if name != "__metadata__"]
    entry: Header = header[names[random.integers(len(names))]]
    return entry


def wrong_dtype(random: Random, header: Header, data: bytes) -> bytes:
    kinds = ["F16", "BF16", "I32", "U8", "F64", "F8_E4M3", "F33", "", None, 7, "f32", "C64"]
    _entry(random, header)["dtype"] = kinds[random.integers(len(kinds))]
    return encode(header, data)


def wrong_offsets(random: Random, header: Header, data: bytes) -> bytes:
    entry = _entry(random, header)
    size = len(data)
    offsets: list[Any] = [
        0,
        4,
        -4,
        size,
        size + 4,
        1 << 62,
        1 << 64,
        1.5,
        None,
        "0",
        entry["data_offsets"][0],
    ]
    entry["data_offsets"] = [offsets[random.integers(len(offsets))] for _ in range(random.integers(1, 4))]
    return encode(header, data)


def wrong_shape(random: Random, header: Header, data: bytes) -> bytes:
    shapes: list[Any] = [
        [],
        [0],
        [1],
        [-1],
        [1 << 62, 4],
        [1 << 33, 1 << 33],
        [2] * 70,
        [1.5],
        None,
        "3",
        [[1]],
        [True],
    ]
    _entry(random, header)["shape"] = shapes[random.integers(len(shapes))]
    return encode(header, data)


def drop_a_tensor(random: Random, header: Header, data: bytes) -> bytes:
    names = [name for name in header if name != "__metadata__"]
    start, end = header.pop(names[random.integers(len(names))])["data_offsets"]
    for name, entry in header.items():
        if name != "__metadata__" and entry["data_offsets"][0] >= end:
            entry["data_offsets"] = [offset - (end - start) for offset in entry["data_offsets"]]
    return encode(header, data[:start] + data[end:])


def rename_a_tensor(random: Random, header: Header, data: bytes) -> bytes:
    names = [name for name in header if name != "__metadata__"]
    old = names[random.integers(len(names))]
    new = ["", "\n", "\x00", "x" * 10_000, "flow_lm." + old, "\u202e", names[0], old.upper()][
        random.integers(8)
    ]
    return encode({(new if name == old else name): entry for name, entry in header.items()}, data)


def not_a_number(random: Random, header: Header, data: bytes) -> bytes:
    start, end = _entry(random, header)["data_offsets"]
    place = start + 4 * int(random.integers((end - start) // 4))
    bad = np.array(random.choice([np.nan, np.inf, -np.inf]), np.float32).tobytes()
    return encode(header, data[:place] + bad + data[place + 4 :])


def strange_metadata(random: Random, header: Header, data: bytes) -> bytes:
    versions: list[Any] = ["1", "2", "999", "x", "", "-1", "1" * 5000, None, 1, {"a": "b"}]
    header["__metadata__"] = {"pocketquant.format_version": versions[random.integers(len(versions))]}
    return encode(header, data)


def garbage(random: Random, header: Header, data: bytes) -> bytes:
    return random.bytes(int(random.integers(0, 300)))


def append(random: Random, header: Header, data: bytes) -> bytes:
    return encode(header, data) + random.bytes(int(random.integers(1, 50)))


def nest(random: Random, header: Header, data: bytes) -> bytes:
    depth = int(random.integers(10, 50_000))
    return encode([b"[", b'{"a":'][random.integers(2)] * depth, data)


Mutation = Callable[[Random, Header, bytes], bytes]
MUTATIONS: dict[Mutation, int] = {
    truncate: 500,
    flip_header_bits: 700,
    flip_data_bits: 200,
    lie_about_the_length: 100,
    wrong_dtype: 200,
    wrong_offsets: 400,
    wrong_shape: 200,
    drop_a_tensor: 150,
    rename_a_tensor: 100,
    not_a_number: 200,
    strange_metadata: 50,
    garbage: 200,
    append: 50,
    nest: 20,
}
# These can never give a sound checkpoint.
ALWAYS_REFUSED = {
    truncate,
    lie_about_the_length,
    drop_a_tensor,
    not_a_number,
    strange_metadata,
    garbage,
    append,
    nest,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "model.yaml").write_text(tiny_config().to_yaml())
    return folder


def read_all(path: Path) -> str | None:
    """Open a checkpoint and take every tensor: None, or the line of the error."""
    try:
        for tensor in open_checkpoint(path).weights.values():
            assert tensor.data.shape == tensor.shape
    except PocketQuantError as error:
        return str(error)
    return None


def mutants() -> Iterator[tuple[Mutation, bytes]]:
    config = tiny_config()
    text, data = json.dumps(layout(config)[0]), layout(config)[1]
    for number, (mutation, count) in enumerate(MUTATIONS.items()):
        random = np.random.default_rng(number)
        for _ in range(count):
            yield mutation, mutation(random, json.loads(text), data)


def test_the_unharmed_file_opens(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(encode(*layout(tiny_config())))
    assert read_all(folder / "model.safetensors") is None


def test_damaged_files_give_one_line_each(folder: Path) -> None:
    path = folder / "model.safetensors"
    refused: Counter[str] = Counter()
    opened: Counter[str] = Counter()
    slowest = 0.0
    started = time.monotonic()
    for mutation, content in mutants():
        path.unlink(missing_ok=True)  # not rewritten in place: a map of the last mutant may be alive
        path.write_bytes(content)
        begun = time.monotonic()
        line = read_all(path)
        slowest = max(slowest, time.monotonic() - begun)
        if line is None:
            assert mutation not in ALWAYS_REFUSED, mutation.__name__
            opened[mutation.__name__] += 1
        else:
            assert len(line.splitlines()) == 1, line
            assert "model.safetensors" in line
            assert len(line) < 1000
            refused[mutation.__name__] += 1
    seconds = time.monotonic() - started
    for mutation in MUTATIONS:
        name = mutation.__name__
        print(f"{name:22} refused {refused[name]:4}   opened {opened[name]:4}")
    print(
        f"{sum(refused.values()) + sum(opened.values())} mutants, {seconds:.1f} s, slowest {slowest * 1000:.0f} ms"
    )
    assert seconds < LIMIT_S
