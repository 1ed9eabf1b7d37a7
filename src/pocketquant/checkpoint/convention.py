"""How a stored tensor lies in one of our files: the naming of the compressed-tensors convention.

`X` keeps its name and gets `X_scale` (`int-quantized`), or becomes `X_packed`, `X_scale` and `X_shape`
(`pack-quantized`). For `X = ....weight` these are exactly the names that compressed-tensors knows
(`weight_scale`, `weight_packed`, `weight_shape`). docs/FORMAT.md describes it for writers of other readers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pocketquant.checkpoint.writer import Entry
from pocketquant.quantize import schemes
from pocketquant.quantize.stored import Array, StoredTensor

FLOAT_DTYPES = {"f32": "F32", "f16": "F16", "bf16": "BF16"}
FLOAT_SCHEMES = {dtype: scheme for scheme, dtype in FLOAT_DTYPES.items()}


def entries(name: str, scheme: str, shape: tuple[int, ...]) -> list[Entry]:
    """The entries of the file for the tensor `name` stored by `scheme`."""
    if scheme in FLOAT_DTYPES:
        return [Entry(name, FLOAT_DTYPES[scheme], shape)]
    if scheme == "int8-tensor":
        return [Entry(name, "I8", shape), Entry(f"{name}_scale", "F32", (1,))]
    if scheme == "int8":
        return [Entry(name, "I8", shape), Entry(f"{name}_scale", "F32", _row_scale_shape(shape))]
    int4 = schemes.get(scheme)
    assert isinstance(int4, schemes.Int4), scheme
    rows, cols = schemes.rows_cols(shape)
    return [
        Entry(f"{name}_packed", "I32", (rows, -(-cols // schemes.VALUES_PER_WORD))),
        Entry(f"{name}_scale", "F16", (rows, cols // int4.group(cols))),
        Entry(f"{name}_shape", "I64", (2,)),
    ]


def arrays(name: str, stored: StoredTensor) -> dict[str, Array]:
    """The arrays behind `entries`."""
    if stored.scale is None:
        return {name: stored.data}
    if stored.scheme == "int8-tensor":
        return {name: stored.data, f"{name}_scale": stored.scale}
    if stored.scheme == "int8":
        return {name: stored.data, f"{name}_scale": stored.scale.reshape(_row_scale_shape(stored.shape))}
    return {
        f"{name}_packed": stored.data,
        f"{name}_scale": stored.scale,
        f"{name}_shape": np.array([stored.rows, stored.cols], dtype=np.int64),
    }


def load(name: str, scheme: str, shape: tuple[int, ...], read: Callable[[str], Array]) -> StoredTensor:
    """The stored tensor again; `read` gives the array of an entry."""
    if scheme in FLOAT_DTYPES:
        return StoredTensor(scheme, shape, read(name))
    scale = read(f"{name}_scale")
    if scheme == "int8":
        return StoredTensor(scheme, shape, read(name), scale.reshape(-1, 1))
    if scheme == "int8-tensor":
        return StoredTensor(scheme, shape, read(name), scale)
    return StoredTensor(scheme, shape, read(f"{name}_packed"), scale)


def quantization_config(tensors: Mapping[str, tuple[str, tuple[int, ...]]], version: str) -> dict[str, Any]:
    """The `quantization_config` of the compressed-tensors convention for these tensors.

    Args:
        tensors: name -> (scheme, shape).
        version: our version, written as the producer's.

    One group for each way in which `.weight` tensors are quantized, with the modules listed by name. Tensors
    that belong to no module's weight (some vectors, with the recipe `origin`) cannot be named there; a reader
    finds them in `pocketquant.tensors`.
    """
    groups: dict[tuple[int, str, int | None], list[str]] = {}
    ignored: list[str] = []
    for name, (scheme, shape) in tensors.items():
        module, dot, leaf = name.rpartition(".")
        if not dot or leaf != "weight":
            continue
        if scheme in FLOAT_DTYPES:
            ignored.append(module)
        else:
            groups.setdefault(_weights_key(scheme, shape), []).append(module)
    config_groups = {
        f"group_{number}": {
            "targets": sorted(modules),
            "format": "int-quantized" if bits == 8 else "pack-quantized",
            "weights": {
                "num_bits": bits,
                "type": "int",
                "symmetric": True,
                "strategy": strategy,
                "group_size": group_size,
                "dynamic": False,
            },
        }
        for number, ((bits, strategy, group_size), modules) in enumerate(groups.items())
    }
    formats = {str(group["format"]) for group in config_groups.values()}
    return {
        "quant_method": "compressed-tensors",
        "format": formats.pop() if len(formats) == 1 else "mixed-precision" if formats else "dense",
        "quantization_status": "compressed",
        "config_groups": config_groups,
        "ignore": sorted(ignored),
        "producer": f"pocketquant {version}",
    }


def _weights_key(scheme: str, shape: tuple[int, ...]) -> tuple[int, str, int | None]:
    if scheme == "int8-tensor":
        return 8, "tensor", None
    if scheme == "int8":
        return 8, "channel", None
    int4 = schemes.get(scheme)
    assert isinstance(int4, schemes.Int4), scheme
    cols = schemes.rows_cols(shape)[1]
    group = int4.group(cols)
    return (4, "channel", None) if group == cols else (4, "group", group)


def _row_scale_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape that broadcasts against the tensor, whatever its number of axes."""
    return (shape[0],) + (1,) * (len(shape) - 1) if len(shape) > 1 else (1,)
