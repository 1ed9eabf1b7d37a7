"""A checkpoint: config, tokenizer and weights, from wherever a user points to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pocketquant.checkpoint import hub
from pocketquant.checkpoint.layout import fitting_languages, refuse_voice
from pocketquant.checkpoint.legacy import flow_lm_sources, mimi_sources
from pocketquant.checkpoint.official import LazyWeights, Source, combined
from pocketquant.checkpoint.reader import TensorFile
from pocketquant.config import catalog
from pocketquant.config.schema import ModelConfig
from pocketquant.errors import CheckpointError, ConfigError, PocketQuantError
from pocketquant.quantize.stored import StoredTensor, release

YAML = (".yaml", ".yml")
# The metadata entry that marks one of our own files (docs/FORMAT.md).
VERSION_KEY = "pocketquant.format_version"

ConfigLike = str | Path | ModelConfig
TokenizerKind = Literal["tokenizers", "sentencepiece"]


class TokenizerFile:
    """A tokenizer as bytes: a Hugging Face tokenizer.json ("tokenizers") or a SentencePiece model.

    Args:
        kind: which of the two.
        data: the bytes, or a function that gets them when they are first asked for.
    """

    def __init__(self, kind: TokenizerKind, data: bytes | Callable[[], bytes]) -> None:
        self.kind: TokenizerKind = kind
        self._data = data

    @property
    def data(self) -> bytes:
        """The content of the file.

        Raises:
            PocketQuantError: it is missing, cannot be downloaded, or is empty.
        """
        if not isinstance(self._data, bytes):
            self._data = self._data()
        return self._data


@dataclass(frozen=True)
class SourceFile:
    """A file that a checkpoint was read from, for the provenance in what is made of it."""

    uri: str
    """As it was named: a path relative to nothing in particular, `https://...` or `hf://...`."""
    path: Path
    """Where it is on this machine."""

    @property
    def bytes(self) -> int:
        return self.path.stat().st_size

    @cached_property
    def sha256(self) -> str:
        """Hex digest of the content, computed once."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
        return digest.hexdigest()


@dataclass(frozen=True)
class Checkpoint:
    """A model as it is stored.

    Attributes:
        config: what the model is.
        tokenizer: text to tokens.
        weights: official combined name -> tensor, read when it is taken.
        has_voice_cloning: whether a recording can become a voice.
        origin: what the user pointed to.
        language: the official model (or `demo`) that this is, whose predefined voices fit it; None: custom.
        files: what it was read from (the tokenizer apart, whose bytes travel along).
        config_text: the YAML as it was found.
        provenance: what one of our own files says about its making.
    """

    config: ModelConfig
    tokenizer: TokenizerFile
    weights: Mapping[str, StoredTensor]
    has_voice_cloning: bool
    origin: str
    language: str | None = None
    files: list[SourceFile] = field(default_factory=list)
    config_text: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<Checkpoint {self.origin}: {len(self.weights)} tensors>"

    @classmethod
    def open(cls, source: str | Path, *, config: ConfigLike | None = None) -> Checkpoint:
        """`open_checkpoint`."""
        return open_checkpoint(source, config=config)

    def release(self, name: str) -> None:
        """Let the memory behind a tensor go, where it is mapped from a file."""
        release(self.weights, name)


def open_checkpoint(source: str | Path, *, config: ConfigLike | None = None) -> Checkpoint:
    """Open whatever holds a Pocket TTS model. Weights are mapped, nothing is read before it is asked for.

    Args:
        source: one of
            - a language of the official package ("english", "french_24l", ...), or "demo";
            - a YAML config: a path, `https://...` or `hf://owner/repo/path[@revision]`. Paths inside it count
              from the working directory, as in the official package, else from the YAML's own folder;
            - a safetensors file (same three forms): an official combined one, or one that pocketquant wrote;
            - a folder with a safetensors file.
        config: the model's config (language, YAML path or address, `ModelConfig`), for an official safetensors
            file. Without it the YAML beside the file counts (of the same name, or the only one), else the
            folder's name where that is a language, as on the hub.

    Raises:
        CheckpointError: the weights are missing, damaged, or not those of the config.
        ConfigError: there is no config, or it is wrong.
        DownloadError: something cannot be downloaded.
    """
    name = str(source)
    if isinstance(source, str) and (source == catalog.DEMO or source in catalog.languages()):
        _refuse(config, f"the language {name}")
        return _open_language(name)
    if hub.is_remote(name):
        ending = hub.suffix(name)
        if ending not in (*YAML, ".safetensors"):
            raise CheckpointError(f"{name}: expected a .yaml config or a .safetensors file")
    else:
        path = Path(source)
        if path.is_dir():
            return _open_folder(path, config)
        if not path.exists():
            suggestion = catalog.suggest(name) if isinstance(source, str) else ""
            raise CheckpointError(f"{name}: no such file, folder or language{suggestion}")
        ending = path.suffix.lower()
    if ending in YAML:
        _refuse(config, name)
        given = _read_config(name)
        return _open_config(given, name)
    return _open_file(name, config)


@dataclass(frozen=True)
class _Given:
    """A config with what is known about where it came from."""

    config: ModelConfig
    text: str
    uri: str | None = None
    """Where the YAML is, for paths relative to it; None for a catalog entry."""
    files: tuple[SourceFile, ...] = ()
    language: str | None = None


def _refuse(config: ConfigLike | None, what: str) -> None:
    if config is not None:
        raise ConfigError(f"{what} comes with its config; leave `config` out")


def _read_config(config: ConfigLike) -> _Given:
    if isinstance(config, ModelConfig):
        return _Given(config, config.to_yaml())
    uri = str(config)
    if uri == catalog.DEMO or uri in catalog.languages():
        return _Given(catalog.language(uri), catalog.language(uri).to_yaml(), language=uri)
    if not hub.is_remote(uri) and hub.suffix(uri) not in YAML:
        raise ConfigError(f"{uri}: neither a language nor a .yaml file{catalog.suggest(uri)}")
    path = hub.resolve(uri)
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError:
        text = ""  # from_file says what is wrong with it
    except OSError as error:
        raise ConfigError(f"{uri}: cannot be read ({error.strerror})") from error
    parsed = ModelConfig.from_file(path) if uri == str(path) or not text else ModelConfig.from_yaml(text, uri)
    stem = Path(hub.split_hub(uri)[1] if uri.startswith(hub.HUB) else uri).stem
    return _Given(parsed, text, uri, (SourceFile(uri, path),), _language(stem, parsed))


def _language(name: str, config: ModelConfig) -> str | None:
    """`name` if it is an official model and `config` its config."""
    known = name == catalog.DEMO or name in catalog.languages()
    return name if known and catalog.language(name) == config else None


def _open_language(name: str) -> Checkpoint:
    if name != catalog.DEMO:
        return _open_config(
            _Given(catalog.language(name), catalog.language(name).to_yaml(), language=name), name
        )
    # Its paths are relative to the package: whatever the working directory holds must not come in between.
    folder = catalog.demo_folder()
    given = _read_config(folder / "demo.yaml")
    paths = given.config.weights_path, given.config.flow_lm.lookup_table.tokenizer_path
    weights, tokenizer = (str(folder / str(path)) for path in paths)
    absolute = given.config.with_paths(weights=weights, tokenizer=tokenizer)
    opened = _open_config(replace(given, config=absolute, language=name), name)
    # Named without the place where the package is installed: it goes into the files made of this.
    files = [SourceFile(f"{name}/{file.path.name}", file.path) for file in opened.files]
    return replace(opened, config=given.config, files=files)


def _open_config(given: _Given, origin: str) -> Checkpoint:
    """The weights that a config names: one file, or FlowLM and Mimi apart, or one file and another Mimi."""
    config, has_cloning, files = given.config, True, list(given.files)
    separate, mimi = config.flow_lm.weights_path, config.mimi.weights_path
    if config.weights_path is not None:
        uri = _locate(config.weights_path, given)
        fallback = config.weights_path_without_voice_cloning
        path, has_cloning = hub.resolve_first(uri, None if fallback is None else _locate(fallback, given))
        files.append(SourceFile(uri if has_cloning else str(fallback), path))
        sources = combined(TensorFile.open(path))
    elif separate is not None:
        if mimi is None:
            raise ConfigError(f"{origin}: flow_lm.weights_path is given without mimi.weights_path; add it")
        flow_lm = _part(separate, given, files)
        sources = flow_lm_sources(flow_lm, config)
    else:
        raise ConfigError(f"{origin}: names no weights; add weights_path")
    if mimi is not None:
        sources = {name: source for name, source in sources.items() if not name.startswith("mimi.")}
        sources |= mimi_sources(_part(mimi, given, files))
    return _checkpoint(given, sources, origin, files, has_cloning=has_cloning)


def _part(uri: str, given: _Given, files: list[SourceFile]) -> TensorFile:
    located = _locate(uri, given)
    path = hub.resolve(located)
    files.append(SourceFile(located, path))
    return TensorFile.open(path)


def _locate(uri: str, given: _Given) -> str:
    """A path of a config: as it is where that exists, else beside the YAML."""
    if hub.is_remote(uri) or Path(uri).is_absolute() or Path(uri).exists() or given.uri is None:
        return uri
    return hub.sibling(given.uri, uri)


def _open_folder(folder: Path, config: ConfigLike | None) -> Checkpoint:
    """model.safetensors, else what the only YAML names, else the only safetensors file."""
    files, configs = sorted(folder.glob("*.safetensors")), _configs(folder)
    if folder / "model.safetensors" in files:
        return _open_file(str(folder / "model.safetensors"), config)
    if config is None and len(configs) == 1:
        return _open_config(_read_config(configs[0]), str(configs[0]))
    if len(files) == 1:
        return _open_file(str(files[0]), config)
    found = f"{len(files)} safetensors files and {len(configs)} configs"
    raise CheckpointError(f"{folder}: no model.safetensors in this folder, but {found}; name the file")


def _configs(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in YAML)


def _open_file(uri: str, config: ConfigLike | None) -> Checkpoint:
    path = hub.resolve(uri)
    file = TensorFile.open(path)
    if VERSION_KEY in file.metadata:
        from pocketquant.checkpoint.compressed import open_compressed  # it imports this module

        _refuse(config, uri)
        return open_compressed(path)
    given = _read_config(config) if config is not None else _config_of(file)
    files = [*given.files, SourceFile(uri, path)]
    sources = combined(file)
    if given.config.mimi.weights_path is not None:
        sources = {name: source for name, source in sources.items() if not name.startswith("mimi.")}
        sources |= mimi_sources(_part(given.config.mimi.weights_path, given, files))
    return _checkpoint(given, sources, uri, files, beside=path)


def _config_of(file: TensorFile) -> _Given:
    """The config of a bare safetensors file: the YAML beside it, or the language that its folder is named after."""
    path = file.path
    configs = _configs(path.parent)
    same = [found for found in configs if found.stem == path.stem]
    if same or len(configs) == 1:
        return _read_config((same or configs)[0])
    # Not resolved: in the Hugging Face cache the file is a link out of the folder that has the name.
    folder = path.absolute().parent.name
    if folder in catalog.languages():
        return _Given(catalog.language(folder), catalog.language(folder).to_yaml(), language=folder)
    refuse_voice(file, source=str(path))
    fitting = fitting_languages({name: info.shape for name, info in file.infos.items()})
    hint = f"its tensors are those of {', '.join(fitting)}" if fitting else "it is of no official model"
    several = f"{len(configs)} configs beside it" if configs else "no config beside it"
    raise ConfigError(f"{path}: {several}; give config= (--config): a YAML file or a language; {hint}")


def _checkpoint(
    given: _Given,
    sources: Mapping[str, Source],
    origin: str,
    files: list[SourceFile],
    *,
    beside: Path | None = None,
    has_cloning: bool = True,
) -> Checkpoint:
    weights = LazyWeights(sources, given.config, str(files[-1].path))
    return Checkpoint(
        config=given.config,
        tokenizer=_tokenizer(given, beside),
        weights=weights,
        has_voice_cloning=has_cloning and weights.has_voice_cloning,
        origin=origin,
        language=given.language,
        files=files,
        config_text=given.text,
    )


def _tokenizer(given: _Given, beside: Path | None) -> TokenizerFile:
    """The tokenizer of a config, read or downloaded when it is asked for."""
    table = given.config.flow_lm.lookup_table
    uri = _locate(table.tokenizer_path, given)
    if beside is not None and (hub.is_remote(uri) or not Path(uri).exists()):
        # A downloaded folder of the hub has the tokenizer beside the weights.
        name = Path(hub.split_hub(uri)[1] if uri.startswith(hub.HUB) else uri).name
        if (beside.parent / name).exists():
            uri = str(beside.parent / name)

    def read() -> bytes:
        try:
            data = hub.resolve(uri).read_bytes()
        except OSError as error:
            raise PocketQuantError(f"{uri}: the tokenizer cannot be read ({error.strerror})") from error
        if not data or data.startswith(b"version https://git-lfs"):
            raise PocketQuantError(f"{uri}: the tokenizer is empty or a Git LFS pointer; download it again")
        return data

    return TokenizerFile(table.tokenizer_kind, read)
