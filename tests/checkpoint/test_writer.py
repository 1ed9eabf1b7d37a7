"""Our writer against the safetensors library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors import safe_open
from safetensors.numpy import load_file

from pocketquant.checkpoint.writer import Entry, create
from pocketquant.errors import CheckpointError

NAMES = {"F32": np.float32, "F16": np.float16, "I8": np.int8, "I32": np.int32, "I64": np.int64}


@given(
    tensors=st.dictionaries(
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(
            lambda name: name != "__metadata__"
        ),
        st.sampled_from(sorted(NAMES)).flatmap(
            lambda name: hnp.arrays(NAMES[name], hnp.array_shapes(min_dims=0, max_side=5)).map(
                lambda a: (name, a)
            )
        ),
        max_size=8,
    ),
    metadata=st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3),
)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_library_reads_it(
    tmp_path: Path, tensors: dict[str, tuple[str, np.ndarray]], metadata: dict[str, str]
) -> None:
    path = tmp_path / "out.safetensors"
    entries = [Entry(name, dtype, array.shape) for name, (dtype, array) in tensors.items()]
    with create(path, entries, metadata) as writer:
        for name, (_, array) in reversed(tensors.items()):
            writer.put(name, array)
    loaded = load_file(path)
    assert set(loaded) == set(tensors)
    for name, (_, array) in tensors.items():
        np.testing.assert_array_equal(loaded[name], array)
        assert loaded[name].dtype == array.dtype
    with safe_open(path, framework="numpy") as opened:
        assert (opened.metadata() or {}) == metadata


def test_same_input_same_bytes(tmp_path: Path) -> None:
    entries = [Entry("b", "I8", (3,)), Entry("a", "F32", (2,))]
    for path, order in ((tmp_path / "one", entries), (tmp_path / "two", entries[::-1])):
        with create(
            path, order, {"x": "1", "y": "2"} if order is entries else {"y": "2", "x": "1"}
        ) as writer:
            writer.put("a", np.ones(2, dtype=np.float32))
            writer.put("b", np.ones(3, dtype=np.int8))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_forgotten_tensor_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="never written"):
        with create(tmp_path / "out", [Entry("a", "F32", (2,))], {}):
            pass
    assert list(tmp_path.iterdir()) == []


def test_tensor_that_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not fit"):
        with create(tmp_path / "out", [Entry("a", "F32", (2,))], {}) as writer:
            writer.put("a", np.zeros(3, dtype=np.float32))
    assert list(tmp_path.iterdir()) == []
