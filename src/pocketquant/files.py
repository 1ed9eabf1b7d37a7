"""Output files appear whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pocketquant.errors import PocketQuantError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its name when the block ends without an exception.

    Whatever happens inside (an error, Ctrl-C, a kill, a full disk), `path` is afterwards either complete or
    what it was before. The temporary file is flushed to the disk before it is renamed, and removed when the
    block fails.

    Raises:
        PocketQuantError: the folder does not exist or cannot be written, `path` is a folder, or the disk
            is full.
    """
    path = Path(path)
    if path.is_dir():
        raise PocketQuantError(f"{path}: is a folder; give the name of a file in it")
    temporary: Path | None = None
    try:
        # The suffix stays, for writers that go by it.
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        _take_permissions(path, temporary)
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise _write_error(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _take_permissions(path: Path, temporary: Path) -> None:
    """mkstemp files are private (0600); give the file the mode that a plain `open` would have given."""
    if path.exists():
        mode = path.stat().st_mode & 0o777
    else:
        mask = os.umask(0)
        os.umask(mask)
        mode = 0o666 & ~mask
    temporary.chmod(mode)


def _write_error(path: Path, error: OSError) -> PocketQuantError:
    if error.errno == errno.ENOSPC:
        remedy = "no space left on the disk; nothing was written, free some and run again"
    elif error.errno == errno.ENOENT:
        remedy = f"the folder {path.parent} does not exist; create it first"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        remedy = f"the folder {path.parent} cannot be written; choose another one"
    else:
        remedy = f"cannot be written: {error.strerror or error}"
    return PocketQuantError(f"{path}: {remedy}")
