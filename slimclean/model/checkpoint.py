"""Checkpoints: list the packaged ones, load, save. Safetensors only: data, never code.

The header's metadata holds `format`, `config` (the `ModelConfig`) and `info` (licence,
training, scores), the last two as JSON. Weights may be stored in half precision; they are
loaded as float32.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as tensors_of
from safetensors.torch import save as bytes_of
from torch import Tensor

from slimclean.audio.atomic import replacing
from slimclean.audio.folder import is_file
from slimclean.errors import CheckpointError, UsageError
from slimclean.model import ModelConfig, SlimmableDemucs

WEIGHTS = Path(__file__).parent.parent / "weights"
SUFFIX = ".safetensors"
DEFAULT = WEIGHTS / "DEFAULT"
"""A file that names the packaged checkpoint to use where none is named."""
FORMAT = "slimclean 1"
MAX_BYTES = 256 * 2**20
MOST_TOLD = 300
"""Characters of a message that may quote what a file holds."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's header: what it is, without its weights."""

    name: str
    path: Path
    config: ModelConfig
    info: dict[str, Any]

    @property
    def bytes(self) -> int:
        return self.path.stat().st_size

    def sha256(self) -> str:
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


def packaged() -> list[Checkpoint]:
    """Read the headers of the checkpoints inside the package, by name."""
    return [read_header(path) for path in sorted(WEIGHTS.glob(f"*{SUFFIX}"))]


def default_name() -> str:
    """Name the packaged checkpoint to use by default. Raises `CheckpointError` where there is none."""
    name = DEFAULT.read_text().strip() if DEFAULT.is_file() else ""
    if not name or not (WEIGHTS / f"{name}{SUFFIX}").is_file():
        raise CheckpointError("this installation holds no packaged weights; give a file as `model`")
    return name


def find(model: str | Path | None = None) -> Path:
    """Find the file of a packaged name or of a path; None is `default_name`. Else raises `UsageError`."""
    names = sorted(path.stem for path in WEIGHTS.glob(f"*{SUFFIX}"))
    model = default_name() if model is None else model
    if str(model) in names:
        return WEIGHTS / f"{model}{SUFFIX}"
    path = Path(model)
    if is_file(path):
        return path
    raise UsageError(f"no model named {model} and no such file; packaged: {', '.join(names) or 'none'}")


def read_header(path: Path) -> Checkpoint:
    """Read what a checkpoint is, without its weights. Raises `CheckpointError` for any other file."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CheckpointError("larger than any slimclean checkpoint")
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        if metadata.get("format") != FORMAT:
            raise CheckpointError("not a slimclean checkpoint")
        config = ModelConfig.from_dict(json.loads(metadata["config"]))
        info = json.loads(metadata["info"])
        if not isinstance(info, dict) or not isinstance(info.get("scores", []), list):
            raise CheckpointError("cannot be read as a checkpoint (info is no table)")
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {_brief(error)}") from error
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read as a checkpoint ({_brief(error)})") from error
    return Checkpoint(path.stem, path, config, info)


def load(model: str | Path | None = None) -> tuple[SlimmableDemucs, Checkpoint]:
    """Load the network of `model` (see `find`) in evaluation mode, and its header.

    Raises `CheckpointError` for weights that cannot be loaded.
    """
    header = read_header(find(model))
    try:
        with torch.device("cpu"), safe_open(header.path, "pt") as file:  # not on a default device
            tensors = {name: _floats(name, file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, AttributeError, TypeError, ValueError, CheckpointError) as error:
        raise CheckpointError(f"{header.path}: weights cannot be read ({_brief(error)})") from error
    try:
        return network_of(header.config, tensors), header
    except RuntimeError as error:
        problem = _brief(str(error).splitlines()[1].strip() if "\n" in str(error) else error)
        raise CheckpointError(f"{header.path}: weights do not fit the network ({problem})") from error


def _floats(name: str, tensor: Tensor) -> Tensor:
    """Return `tensor` in float32. Raises `CheckpointError` unless it holds floating point, all of it finite."""
    kind = str(tensor.dtype).removeprefix("torch.")
    try:
        if not tensor.is_floating_point():
            raise NotImplementedError
        numbers = tensor.float()
    except NotImplementedError as error:
        raise CheckpointError(f"{name} is stored as {kind}, which weights cannot be") from error
    # The sum of what is finite nearly always is, and takes a fifth of the time.
    if not torch.isfinite(numbers.sum()) and not torch.isfinite(numbers).all():
        raise CheckpointError(f"{name} holds NaN or infinite numbers")
    return numbers


def _brief(message: object) -> str:
    """Return a message with its beginning and its end, where it quotes too much in between."""
    text = str(message)
    half = MOST_TOLD // 2
    return text if len(text) <= MOST_TOLD else f"{text[:half]} ... {text[-half:]}"


def network_of(config: ModelConfig, weights: Mapping[str, Tensor]) -> SlimmableDemucs:
    """Make a network of these weights, in float32 on the CPU and in evaluation mode.

    The caller's random state and default device and dtype do not matter, and stay as they are.
    Raises `RuntimeError` where the weights do not fit.
    """
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        network = SlimmableDemucs(config).float()
    network.load_state_dict(weights, strict=True)
    return network.eval()


def packed(network: SlimmableDemucs) -> tuple[str, bytes]:
    """Pack a network for another process, as configuration and weights; `unpacked` is the inverse."""
    weights = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    return json.dumps(network.config.to_dict()), bytes_of(weights)


def unpacked(config: str, weights: bytes) -> SlimmableDemucs:
    """Make the network of `packed`, on the CPU and in evaluation mode."""
    return network_of(ModelConfig.from_dict(json.loads(config)), tensors_of(weights))


def save(
    path: Path,
    config: ModelConfig,
    weights: Mapping[str, Tensor],
    info: dict[str, Any],
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a checkpoint, whole or not at all."""
    metadata = {"format": FORMAT, "config": json.dumps(config.to_dict()), "info": json.dumps(info)}
    write_tensors(path, {k: v.to(dtype) for k, v in weights.items()}, metadata)


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file, whole or not at all."""
    data = bytes_of({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, metadata)
    with replacing(path) as temporary:
        temporary.write_bytes(data)
