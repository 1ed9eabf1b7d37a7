from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save, save_file

from pocketquant.checkpoint.reader import TensorFile
from pocketquant.errors import CheckpointError

TENSORS: dict[str, NDArray[Any]] = {
    "a": np.arange(12, dtype=np.float32).reshape(3, 4),
    "b": np.arange(6, dtype=np.float16).reshape(1, 2, 3),
    "c": np.arange(-5, 5, dtype=np.int8),
    "d": np.array([True, False]),
    "e": np.arange(4, dtype=np.int64),
    "f": np.zeros((0, 3), dtype=np.float32),
    "g": np.array(2.5, dtype=np.float64),
}


def raw(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def error_of(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        TensorFile.open(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


def test_views_have_the_values(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file(TENSORS, path, {"who": "me"})
    with TensorFile.open(path) as file:
        assert file.metadata == {"who": "me"}
        assert set(file) == set(TENSORS)
        assert len(file) == len(TENSORS)
        for name, expected in TENSORS.items():
            array = file.array(name)
            assert array.dtype == expected.dtype
            np.testing.assert_array_equal(array, expected)
        assert not file.array("a").flags.writeable
        assert not file.array("a").flags.owndata
        assert file.info("b").dtype == "F16"
        assert file.info("b").nbytes == 12


def test_bfloat16_comes_as_bits(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    bits = np.array([0x3F80, 0xC000], np.uint16)  # 1.0, -2.0
    path.write_bytes(raw({"x": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}, bits.tobytes()))
    array = TensorFile.open(path).array("x")
    assert array.dtype == np.uint16
    np.testing.assert_array_equal(array, bits)


def test_unaligned_data_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    values = np.arange(5, dtype=np.float32)
    header = json.dumps({"x": {"dtype": "F32", "shape": [5], "data_offsets": [0, 20]}}).encode()
    header += b" " * (1 - len(header) % 4 + 4)
    path.write_bytes(raw(header, values.tobytes()))
    array = TensorFile.open(path).array("x")
    assert array.flags.aligned
    np.testing.assert_array_equal(array, values)


def test_views_survive_release_and_close(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    values = np.random.default_rng(0).standard_normal((256, 256)).astype(np.float32)
    save_file({"x": values}, path)
    file = TensorFile.open(path)
    array = file.array("x")
    file.release("x")
    file.release()
    np.testing.assert_array_equal(array, values)
    file.close()
    np.testing.assert_array_equal(array, values)


def test_unknown_name_gives_near_misses(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"layer.weight": TENSORS["a"]}, path)
    with pytest.raises(
        CheckpointError, match=r"no tensor 'layer.wieght' among its 1; did you mean layer.weight"
    ):
        TensorFile.open(path).array("layer.wieght")


def test_a_dtype_without_numpy_form_is_refused_when_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(raw({"x": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}, b"ab"))
    with pytest.raises(CheckpointError, match="'x' is stored as F8_E4M3"):
        TensorFile.open(path).array("x")


def _pt() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": 1}))
    return buffer.getvalue()


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("readme.txt", "hello")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"abc", "truncated"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "a web page"),
        (b"\n <html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "git lfs pull"),
        (_pt(), "a PyTorch pickle, which can run code"),
        (pickle.dumps({"a": list(range(50))}), "a PyTorch pickle, which can run code"),
        (_zip(), "a zip archive"),
        (b"GGUF\x03\x00\x00\x00" + bytes(50), "a GGUF file"),
        (b"RIFF\x00\x00\x00\x00WAVE", "a WAV sound"),
        (b"hello world, this is text", "a text file"),
        (b"\x1f\x8b\x08\x00" + bytes(20), "gzip"),
        (bytes(100), "does not start with a brace"),
        ((1 << 62).to_bytes(8, "little") + b"{" + bytes(100), "the header claims"),
        ((200 << 20).to_bytes(8, "little") + b"{}", "the header claims"),
        (raw(b"{nonsense}"), "damaged"),
        (raw(b"[1, 2]"), "brace"),
        (raw(b'{"a": 1}'), "damaged"),
        (raw(b"{" * 5000), "damaged"),
        (raw({"x": {"dtype": "F33", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)), "damaged"),
        (
            raw({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(3)),
            "do not fill the file",
        ),
        (
            raw({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(5)),
            "do not fill the file",
        ),
        (raw({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, bytes(4)), "damaged"),
        (raw({"x": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, bytes(4)), "damaged"),
        (raw({"x": {"dtype": "F32", "shape": [2**62, 8], "data_offsets": [0, 4]}}, bytes(4)), "damaged"),
        (raw({"x": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, bytes(4)), "damaged"),
        (raw({"x": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, bytes(8)), "damaged"),
        (
            raw(
                {
                    "x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
                    "y": {"dtype": "F32", "shape": [1], "data_offsets": [2, 6]},
                },
                bytes(6),
            ),
            "damaged",
        ),
    ],
)
def test_what_is_damaged_or_foreign_gives_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert words in error_of(path)


def test_truncated_anywhere(tmp_path: Path) -> None:
    whole = save(TENSORS)
    path = tmp_path / "a.safetensors"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        error_of(path)


def test_no_file_a_folder_a_pipe(tmp_path: Path) -> None:
    assert "no such file" in error_of(tmp_path / "none.safetensors")
    assert "is a folder" in error_of(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in error_of(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "cannot be read" in error_of(tmp_path / "loop")


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's page statistics")
def test_released_pages_leave_memory(tmp_path: Path) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    path = tmp_path / "a.safetensors"
    size = 32 << 20
    save_file({"x": np.ones(size // 4, np.float32)}, path)
    file = TensorFile.open(path)
    before = resident()
    assert file.array("x").sum() == size // 4
    assert resident() - before > size // 2
    file.release("x")
    assert resident() - before < size // 4
