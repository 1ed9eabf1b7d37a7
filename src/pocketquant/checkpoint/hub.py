"""Where files come from: local paths, `https://`, and `hf://owner/repo/path[@revision]`.

The caches are the ones that the official package uses (`~/.cache/pocket_tts` for web addresses, the Hugging
Face cache for the hub), so nothing is downloaded twice.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import shutil
import tempfile
import urllib.error
import urllib.request
from pathlib import Path, PurePosixPath
from urllib.parse import urljoin, urlparse

from pocketquant.errors import DownloadError

logger = logging.getLogger(__name__)

TIMEOUT_S = 30
WEB = ("https://", "http://")
HUB = "hf://"


def is_remote(uri: str) -> bool:
    """Whether `uri` names something on the web or the hub rather than a local path."""
    return uri.startswith((*WEB, HUB))


def suffix(uri: str) -> str:
    """The file ending of a path or address, in lower case and without `@revision` or `?query`: ".yaml"."""
    if uri.startswith(WEB):
        uri = _web_path(uri)
    elif uri.startswith(HUB):
        uri = split_hub(uri)[1]
    return PurePosixPath(uri.replace("\\", "/")).suffix.lower()


def sibling(uri: str, name: str) -> str:
    """The address or path of `name` beside `uri`: same folder, same revision."""
    if uri.startswith(HUB):
        repository, path, revision = split_hub(uri)
        folder = PurePosixPath(path).parent
        return f"{HUB}{repository}/{folder / name}" + (f"@{revision}" if revision else "")
    if uri.startswith(WEB):
        return urljoin(uri, name)
    return str(Path(uri).parent / name)


def split_hub(uri: str) -> tuple[str, str, str | None]:
    """(owner/repo, path in it, revision or None) of an `hf://` address.

    Raises:
        DownloadError: it is not of the form hf://owner/repo/path[@revision].
    """
    parts = uri.removeprefix(HUB).split("/", 2)
    if len(parts) < 3 or not all(parts):
        raise DownloadError(f"{uri}: expected hf://owner/repo/path[@revision]")
    path, at, revision = parts[2].rpartition("@")
    if at and not (path and revision):
        raise DownloadError(
            f"{uri}: nothing before or after the '@'; expected hf://owner/repo/path[@revision]"
        )
    return f"{parts[0]}/{parts[1]}", path if at else revision, revision if at else None


def resolve(uri: str | Path) -> Path:
    """The local file behind a path or address, downloaded into the usual caches where it is not there yet.

    A local path comes back as it is; whether it exists is for the reader to say.

    Raises:
        DownloadError: not found, no network, offline and not cached, terms not accepted, wrong revision.
    """
    text = str(uri)
    if text.startswith(HUB):
        return _from_hub(text)
    if text.startswith(WEB):
        return _from_web(text)
    return Path(uri)


def resolve_first(weights: str, fallback: str | None) -> tuple[Path, bool]:
    """(file, whether it is the first one): `weights`, or `fallback` where that cannot be had.

    The official weights with voice cloning ask for accepted terms; those without do not. Taking the second
    is logged in one line.

    Raises:
        DownloadError: neither can be had.
    """
    try:
        return resolve(weights), True
    except DownloadError as error:
        if fallback is None:
            raise
        if isinstance(error, _UnreachableError) and fallback.startswith(HUB):
            path = _from_hub(fallback, cached=True)  # it has been waited for once
        else:
            path = resolve(fallback)
        logger.warning("taking the weights without voice cloning instead: %s", error)
        return path, False


class _UnreachableError(DownloadError):
    """Not in the cache, and there is no network, or it must not be used."""


def _from_hub(uri: str, cached: bool = False) -> Path:
    """The file behind an `hf://` address; with `cached` only from the cache."""
    from huggingface_hub import constants, errors, hf_hub_download

    repository, path, revision = split_hub(uri)
    try:
        return Path(hf_hub_download(repository, path, revision=revision, local_files_only=cached))
    except errors.GatedRepoError as error:
        remedy = "accept them on its Hugging Face page, then `hf auth login`"
        raise DownloadError(f"{uri}: {repository} asks for accepted terms; {remedy}") from error
    except errors.RevisionNotFoundError as error:
        problem = f"{repository} has no revision {revision!r}; correct what follows the '@'"
        raise DownloadError(f"{uri}: {problem}") from error
    except errors.RepositoryNotFoundError as error:
        problem = f"no public repository {repository}; correct the name, or `hf auth login` if it is private"
        raise DownloadError(f"{uri}: {problem}") from error
    except errors.LocalEntryNotFoundError as error:
        command = f"`hf download {repository} {path}{f' --revision {revision}' if revision else ''}`"
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub cannot be reached"
        problem = f"not in the cache, and {why}; run {command} with a network"
        raise _UnreachableError(f"{uri}: {problem}") from error
    except errors.EntryNotFoundError as error:
        at = f" at revision {revision}" if revision else ""
        raise DownloadError(f"{uri}: {repository} has no file {path!r}{at}; correct the path") from error
    except errors.HFValidationError as error:
        raise DownloadError(
            f"{uri}: {repository!r} cannot be the name of a repository; correct it"
        ) from error
    except Exception as error:
        # Whatever the HTTP library below raises (which one differs): refused, no network, no disk.
        status = getattr(getattr(error, "response", None), "status_code", None)
        problem = f"HTTP status {status}" if status else _first_line(error)
        raise DownloadError(f"{uri}: cannot be downloaded ({problem}); check the network") from error


def web_cache(url: str) -> Path:
    """Where the official package and we keep the file behind a web address."""
    ending = Path(_web_path(url)).suffix
    return Path.home() / ".cache" / "pocket_tts" / (hashlib.sha256(url.encode()).hexdigest() + ending)


def _from_web(url: str) -> Path:
    cached = web_cache(url)
    if cached.exists():
        return cached
    temporary: Path | None = None
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
            handle, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=cached.parent)
            temporary = Path(name)
            with os.fdopen(handle, "wb") as file:
                shutil.copyfileobj(response, file, 1 << 20)
                received = file.tell()
            expected = response.headers.get("Content-Length")
        if expected is not None and int(expected) != received:
            raise DownloadError(f"{url}: broke off after {received} of {expected} bytes; try again")
        # Whole or not at all: a later start must not take half a file for the file.
        temporary.replace(cached)
    except urllib.error.HTTPError as error:
        error.close()
        remedy = "correct the address" if error.code == 404 else "check that it opens in a browser"
        raise DownloadError(f"{url}: HTTP status {error.code}; {remedy}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        problem = _first_line(getattr(error, "reason", error))
        raise DownloadError(f"{url}: cannot be downloaded ({problem}); check address and network") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return cached


def _web_path(url: str) -> str:
    """The path in a web address, without host and query."""
    try:
        return urlparse(url).path
    except ValueError as error:
        raise DownloadError(f"{url}: not a web address ({error}); correct it") from error


def _first_line(error: object) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
