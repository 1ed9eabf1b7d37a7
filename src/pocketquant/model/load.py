"""What `TTSModel.load_model` loads: the checkpoint that its arguments describe, quantized if asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from pocketquant.checkpoint import hub
from pocketquant.checkpoint.checkpoint import Checkpoint, open_checkpoint
from pocketquant.checkpoint.compressed import is_compressed
from pocketquant.checkpoint.reader import TensorFile
from pocketquant.config import catalog
from pocketquant.errors import CheckpointError, ConfigError
from pocketquant.quantize import schemes
from pocketquant.quantize.recipe import PlanRow, Recipe
from pocketquant.quantize.stored import StoredTensor


def find_checkpoint(
    language: str | None,
    config: str | Path | None,
    weights: str | Path | None,
    checkpoint: str | Path | None = None,
) -> Checkpoint:
    """The checkpoint that the arguments of `TTSModel.load_model` describe; see there.

    Raises:
        ConfigError: arguments that exclude each other, an unknown language, a config that is none.
        CheckpointError: weights that are missing or damaged, or a training checkpoint.
        DownloadError: a file that cannot be had.
    """
    if checkpoint is not None:
        raise CheckpointError(
            f"{checkpoint}: training checkpoints are pickles, which can run code, and are never opened; "
            "load it in the official package, save model.state_dict() with safetensors.torch.save_file, and "
            "pass that file as weights= together with config="
        )
    if language is not None and config is not None:
        raise ConfigError(f"both language {language!r} and config {config} are given; choose one of them")
    if config is not None:
        _check_suffix(str(config))
    if language is not None:
        catalog.language(language)  # an unknown one is an error, even where a file has that name
    if weights is None:
        return open_checkpoint(str(config) if config is not None else language or catalog.DEFAULT_LANGUAGE)
    if language is None:
        return open_checkpoint(weights, config=config)
    if not _is_our_file(weights):
        return open_checkpoint(weights, config=language)
    opened = open_checkpoint(weights)
    if opened.language != language:
        what = f"the model {opened.language!r}" if opened.language else "a custom model"
        raise ConfigError(f"{weights}: holds {what}, not {language!r}; leave language out")
    return opened


def _check_suffix(config: str) -> None:
    path = config.split("@")[0] if config.startswith("hf://") else config
    if Path(path).suffix not in (".yaml", ".yml"):
        raise ConfigError(
            f"{config}: a config is a YAML file and ends in .yaml; for an official model use language=, for weights "
            "use weights="
        )


def _is_our_file(weights: str | Path) -> bool:
    """Whether `weights` is a file that `pocketquant quantize` wrote, which carries its config inside."""
    path = hub.resolve(weights)
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    with TensorFile.open(path) as file:
        return is_compressed(file)


class QuantizedOnTheFly(Mapping[str, StoredTensor]):
    """The tensors of a float checkpoint, each quantized at the moment it is asked for."""

    def __init__(self, checkpoint: Checkpoint, recipe: str) -> None:
        self._checkpoint = checkpoint
        self._plan: dict[str, PlanRow] = {row.name: row for row in Recipe.named(recipe).plan(checkpoint)}

    def __getitem__(self, name: str) -> StoredTensor:
        row, tensor = self._plan[name], self._checkpoint.weights[name]
        if row.scheme == tensor.scheme:
            return tensor
        quantized = schemes.get(row.scheme).quantize(tensor.dequantize())
        self._checkpoint.release(name)
        return quantized

    def release(self, name: str) -> None:
        """Let the pages of the source behind `name` go."""
        self._checkpoint.release(name)

    def __contains__(self, name: object) -> bool:
        return name in self._plan  # the inherited one would quantize to find out

    def __iter__(self) -> Iterator[str]:
        return iter(self._plan)

    def __len__(self) -> int:
        return len(self._plan)
