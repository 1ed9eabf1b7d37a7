"""A safetensors file, checked once and then mapped: nothing is read before it is asked for.

The safetensors library checks the header (lengths, offsets without gaps or overlaps, sizes that fit shape and
dtype); the data is then a memory map, of which every tensor is a view. Pages that were looked at can be given
back (`release`), so walking through a file larger than the memory is no problem.
"""

from __future__ import annotations

import json
import math
import mmap
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from pocketquant.errors import CheckpointError, near_misses

# dtype name in the file -> NumPy dtype. BF16 has no NumPy twin: its bit pattern comes as uint16.
DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(code)
    for name, code in {
        "F64": "<f8",
        "F32": "<f4",
        "F16": "<f2",
        "BF16": "<u2",
        "I64": "<i8",
        "I32": "<i4",
        "I16": "<i2",
        "I8": "|i1",
        "U64": "<u8",
        "U32": "<u4",
        "U16": "<u2",
        "U8": "|u1",
        "BOOL": "|b1",
    }.items()
}

# First bytes of what people hand over instead of a safetensors file -> what it is and what to do.
_FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself; run `git lfs pull`"),
    (b"GGUF", "a GGUF file; give the safetensors checkpoint that it was made from"),
    (b"\x93NUMPY", "a NumPy array file; expected a safetensors checkpoint"),
    (b"RIFF", "a WAV sound file; expected a safetensors checkpoint"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"\x89HDF", "an HDF5 file; expected a safetensors checkpoint"),
)
_PICKLE = (
    "a PyTorch pickle, which can run code and is never opened; convert it to safetensors where you trust it"
)


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """What the header says about one tensor."""

    name: str
    dtype: str
    """The safetensors name: "F32", "F16", "BF16", "I8", ..."""
    shape: tuple[int, ...]
    start: int
    """Offset of the first byte in the file."""
    nbytes: int


class TensorFile:
    """A safetensors file, open for reading. Use `TensorFile.open`.

    Attributes:
        path: the file.
        metadata: the text entries of the header's `__metadata__`.
        infos: name -> `TensorInfo`, in the order of the data in the file.
    """

    def __init__(
        self, path: Path, infos: dict[str, TensorInfo], metadata: dict[str, str], data: mmap.mmap
    ) -> None:
        self.path = path
        self.infos = infos
        self.metadata = metadata
        self._map = data

    @classmethod
    def open(cls, path: str | Path) -> TensorFile:
        """Check the header and map the file.

        Raises:
            CheckpointError: there is no such file, it is empty, truncated or damaged, or something else than
                a safetensors file (which is then named). One line with the path and what to do.
        """
        path = Path(path)
        try:
            size = _regular_size(path)
            with open(path, "rb") as file:
                header = _read_header(path, file.read(8 + 512), size)
                _check_with_library(path)
                file.seek(8)
                infos, metadata = _parse(path, file.read(header), 8 + header, size)
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise _error(path, f"cannot be read ({error.strerror or error})") from error
        return cls(path, infos, metadata, data)

    def info(self, name: str) -> TensorInfo:
        """What the header says about `name`.

        Raises:
            CheckpointError: there is no such tensor (near misses are named).
        """
        try:
            return self.infos[name]
        except KeyError:
            raise _error(
                self.path,
                f"no tensor {name!r} among its {len(self.infos)}{near_misses(name, self.infos)}",
            ) from None

    def array(self, name: str) -> NDArray[Any]:
        """A read-only view of the values of `name`, in its shape; nothing is copied. BF16 comes as uint16.

        Raises:
            CheckpointError: there is no such tensor, or its dtype has no NumPy form (8-bit floats, say).
        """
        info = self.info(name)
        dtype = DTYPES.get(info.dtype)
        if dtype is None:
            raise _error(
                self.path,
                f"tensor {name!r} is stored as {info.dtype}, which is not supported; "
                f"expected one of {', '.join(DTYPES)}",
            )
        try:
            if info.nbytes == 0:
                return np.zeros(info.shape, dtype)
            flat = np.frombuffer(self._map, dtype, info.nbytes // dtype.itemsize, info.start)
            # A header whose length is no multiple of 8 leaves the data unaligned, which only a copy mends.
            return np.require(flat.reshape(info.shape), requirements="A")
        except (ValueError, MemoryError) as error:
            raise _error(self.path, f"tensor {name!r} of shape {info.shape} cannot be mapped") from error

    def release(self, name: str | None = None) -> None:
        """Let the pages of `name` (or of the whole file) go. Views stay valid: using them reads again."""
        if not hasattr(self._map, "madvise"):  # Windows
            return
        start, length = 0, len(self._map)
        if name is not None:
            info = self.info(name)
            start = info.start // mmap.PAGESIZE * mmap.PAGESIZE
            length = info.start + info.nbytes - start
        if length > 0:
            self._map.madvise(mmap.MADV_DONTNEED, start, length)

    def close(self) -> None:
        """Unmap the file, unless arrays of it are still in use (then the last of them does)."""
        with suppress(BufferError):
            self._map.close()

    def __contains__(self, name: object) -> bool:
        return name in self.infos

    def __iter__(self) -> Iterator[str]:
        return iter(self.infos)

    def __len__(self) -> int:
        return len(self.infos)

    def __enter__(self) -> TensorFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _error(path: Path, problem: str) -> CheckpointError:
    """One line, whatever the names hold."""
    return CheckpointError(" ".join(f"{path}: {problem}".split()))


def _regular_size(path: Path) -> int:
    """Size of a regular file in bytes; anything else is an error (opening a pipe would hang)."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _error(path, "no such file") from error
    except ValueError as error:  # a NUL in the name
        raise CheckpointError(f"{str(path)!r}: not a file name") from error
    if stat.S_ISDIR(status.st_mode):
        raise _error(path, "is a folder; give the safetensors file in it")
    if not stat.S_ISREG(status.st_mode):
        raise _error(path, "is not a regular file")
    if status.st_size == 0:
        raise _error(path, "is empty (0 bytes); download or write it again")
    return status.st_size


def _read_header(path: Path, start: bytes, size: int) -> int:
    """Length of the JSON header in bytes, from the first bytes of the file."""
    foreign = _looks_like(start)
    if foreign:
        raise _error(path, f"is {foreign}")
    if size < 8:
        raise _error(path, f"truncated ({size} bytes, too few for a safetensors file); download it again")
    length = int.from_bytes(start[:8], "little")
    if start[8:9] not in (b"{", b""):
        raise _error(path, "not a safetensors file (its header does not start with a brace)")
    if length > size - 8:
        raise _error(
            path,
            f"truncated or not a safetensors file (the header claims {length} bytes, the file has {size}); "
            "download it again",
        )
    return length


def _looks_like(start: bytes) -> str | None:
    """What a file that is not safetensors seems to be, and what to do; None: nothing known."""
    for magic, what in _FOREIGN:
        if start.startswith(magic):
            return what
    if start.startswith(b"PK\x03\x04"):
        if b"data.pkl" in start or b".pkl" in start:
            return _PICKLE
        return "a zip archive; unpack it first"
    if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05") and start[8:9] != b"{":
        return _PICKLE
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page, not the file itself; download the raw file (the link with /resolve/, not /blob/)"
    if len(start) >= 9 and all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in start):
        return "a text file; expected a safetensors checkpoint"
    return None


def _check_with_library(path: Path) -> None:
    try:
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        problem = " ".join(str(error).split()).removeprefix("Error while deserializing header: ")
        if "IncompleteBuffer" in problem or "incomplete" in problem:
            problem = "the tensors do not fill the file: truncated, or with something appended"
        raise _error(path, f"damaged safetensors file ({problem}); download it again") from error
    except (OverflowError, ValueError, MemoryError, UnicodeError) as error:
        raise _error(path, f"damaged safetensors file ({type(error).__name__}); download it again") from error


def _parse(path: Path, text: bytes, base: int, size: int) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    """The header's entries. The library has checked them; what the map relies on is checked again."""
    try:
        header: dict[str, Any] = json.loads(text)
        metadata = {str(key): str(value) for key, value in (header.pop("__metadata__", None) or {}).items()}
        infos = []
        for name, entry in header.items():
            start, end = entry["data_offsets"]
            info = TensorInfo(name, entry["dtype"], tuple(entry["shape"]), base + start, end - start)
            dtype = DTYPES.get(info.dtype)
            if not 0 <= start <= end <= size - base or (
                dtype is not None and info.nbytes != math.prod(info.shape) * dtype.itemsize
            ):
                raise ValueError(f"offsets of {name!r}")
            infos.append(info)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _error(path, f"damaged safetensors header ({error}); download it again") from error
    return {info.name: info for info in sorted(infos, key=lambda info: info.start)}, metadata
