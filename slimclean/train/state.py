"""What a training run is made of and saves: weights, their average, the optimisers, and how far it is."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from slimclean.errors import CheckpointError, SlimcleanError, UsageError
from slimclean.model import ModelConfig, SlimmableDemucs, checkpoint
from slimclean.train.config import STATE, TrainConfig
from slimclean.train.losses import EfficiencyLoss
from slimclean.train.muon import Muon

ROW_FACTOR = 5
"""Times the learning rate at which the row convolution learns: its few weights start as the identity."""

_ELSEWHERE = ("out", "name", "info", "branch")
"""Fields of the configuration that are no part of the recipe."""
_FREE = ("steps", "save_every_s", "valid_every", "workers", "loaders", "device")
"""Fields that a run may change its mind about without a word."""


@dataclass
class Progress:
    """How far a run is: steps, of which `first` were a trunk's; hours of wall clock and of audio."""

    step: int = 0
    first: int = 0
    hours: float = 0.0
    audio_hours: float = 0.0


class State:
    """The state of one run, on `device`; `bf16` is the precision of Muon's iteration."""

    def __init__(self, config: TrainConfig, model: ModelConfig, device: torch.device, *, bf16: bool) -> None:
        self.config = config
        torch.manual_seed(config.seed)
        self.network = SlimmableDemucs(model).to(device)
        self.names = [name for name, _ in self.network.named_parameters()]
        self.params = [p for _, p in self.network.named_parameters()]
        matrices = [p for n, p in self.network.named_parameters() if is_matrix(n, p)]
        row = list(self.network.row.parameters())
        ids = {id(p) for p in [*matrices, *row]}
        self.muon = Muon(
            matrices,
            lr=config.lr,
            weight_decay=config.weight_decay,
            dtype=torch.bfloat16 if bf16 else torch.float32,
        )
        rest = [p for p in self.params if id(p) not in ids]
        groups: list[dict[str, Any]] = [{"params": rest}]
        if row:
            groups.append({"params": row, "factor": ROW_FACTOR})
        self.adam = torch.optim.AdamW(groups, lr=config.lr, weight_decay=0.0)
        self.average = [p.detach().clone() for p in self.params]
        self.efficiency = EfficiencyLoss(model.target_knots)
        self.progress = Progress()

    # --- beginning -------------------------------------------------------------------------

    def start_from(self, init: Path) -> None:
        """Take the weights of a checkpoint.

        The router stays new where it has other UFs, targets or dilations, and so does a look-ahead of another
        length. One that is to learn forgets what it knows of pauses.
        Raises `UsageError` for a network of other sizes.
        """
        network, header = checkpoint.load(init)
        theirs, ours = header.config, self.network.config
        router = ("ufs", "target_knots", "router_dilations")
        free = {name: getattr(ours, name) for name in (*router, "look_ahead")}
        if dataclasses.replace(theirs, **free) != ours:
            raise UsageError(f"{init}: its sizes are not those to train")
        weights = network.state_dict()
        if any(getattr(theirs, name) != getattr(ours, name) for name in router):
            weights = {n: t for n, t in weights.items() if not n.startswith("router.")}
        if theirs.look_ahead != ours.look_ahead:
            weights = {n: t for n, t in weights.items() if not n.startswith("row.")}
        self.network.load_state_dict(weights, strict=theirs == ours)
        if self.config.steps and not self.config.freeze_router:
            self.network.router.forget_pauses()
        for average, p in zip(self.average, self.params, strict=True):
            average.copy_(p.detach())

    def resume(self) -> list[str]:
        """Continue where the run of this folder was interrupted, or from where its trunk ended.

        Returns what a run that was interrupted does otherwise from now on.
        """
        if (path := _origin(self.config)) is None:
            return []
        before = self._load(path)
        if path != self.path:
            self.progress.first = self.progress.step
            return []
        return [
            f"{name} {new} instead of {before[name]}"
            for name, new in self._recipe().items()
            if name in before.keys() - _FREE and before[name] != new
        ]

    def _load(self, path: Path) -> dict[str, Any]:
        """Continue from a saved state: bit for bit what an undisturbed run on this machine would do.

        Returns the recipe that it was made by.
        """
        for p in self.params:
            p.grad = torch.zeros_like(p)
        self.set_rate(0.0)
        self.muon.step()
        self.adam.step()  # both only to make their state's tensors, which the next lines fill
        if not path.is_file():
            raise SlimcleanError(f"{path}: no state of a training run")
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata()
                saved = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            progress = Progress(**json.loads(metadata["progress"]))
            recipe = dict(json.loads(metadata.get("config", "{}")))
            model = ModelConfig.from_dict(json.loads(metadata["model"]))
        except (SafetensorError, CheckpointError, KeyError, TypeError, ValueError) as error:
            raise SlimcleanError(f"{path}: no state of a training run ({error})") from error
        theirs, ours = model.to_dict(), self.network.config.to_dict()
        if unlike := [
            f"{name} is {theirs[name]}, not {ours[name]}" for name in ours if theirs[name] != ours[name]
        ]:
            raise UsageError(f"{path}: its sizes are not those to train: {', '.join(unlike)}")
        own = self._tensors()
        if not all(name in saved and saved[name].shape == tensor.shape for name, tensor in own.items()):
            raise SlimcleanError(f"{path}: no state of a training run (tensors are missing)")
        for name, tensor in own.items():
            tensor.copy_(saved[name])
        self.progress = progress
        return recipe

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of both optimisers."""
        for group in (*self.muon.param_groups, *self.adam.param_groups):
            group["lr"] = rate * group.get("factor", 1)

    # --- saving ----------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        return self.config.out / STATE

    @property
    def export_path(self) -> Path:
        return self.config.out / f"{self.config.name}{checkpoint.SUFFIX}"

    def save(self) -> None:
        """Write the whole state, and the averaged weights as a checkpoint."""
        recipe, progress = self._recipe(), dataclasses.asdict(self.progress)
        metadata = {
            "progress": json.dumps(progress),
            "config": json.dumps(recipe),
            "model": json.dumps(self.network.config.to_dict()),
        }
        checkpoint.write_tensors(self.path, self._tensors(), metadata)
        info: dict[str, Any] = self.config.info | {"training": progress | {"recipe": recipe}}
        checkpoint.save(self.export_path, self.network.config, self._averages(), info)

    def _recipe(self) -> dict[str, Any]:
        """Give the configuration as it is saved, in JSON's types."""
        fields = dataclasses.asdict(self.config).items()
        recipe: dict[str, Any] = json.loads(json.dumps({k: v for k, v in fields if k not in _ELSEWHERE}))
        return recipe

    def averaged(self) -> SlimmableDemucs:
        """Make a network of the averaged weights, in evaluation mode."""
        network = SlimmableDemucs(self.network.config).to(self.params[0].device).eval()
        network.load_state_dict(self._averages(), strict=True)
        return network

    def _averages(self) -> dict[str, Tensor]:
        return dict(zip(self.names, self.average, strict=True))

    def _tensors(self) -> dict[str, Tensor]:
        """Name every tensor of the run: aliases of the live ones."""
        state = {"efficiency": self.efficiency.deviation}
        state |= {f"model.{n}": p.data for n, p in zip(self.names, self.params, strict=True)}
        state |= {f"average.{n}": p for n, p in self._averages().items()}
        for n, p in zip(self.names, self.params, strict=True):
            for optimiser in (self.muon, self.adam):
                for key, value in optimiser.state.get(p, {}).items():
                    state[f"{key}.{n}"] = value
        return state


def saved_config(config: TrainConfig) -> ModelConfig | None:
    """Read the sizes of the run to go on from; None where there is none, or none that can be read."""
    path = _origin(config)
    try:
        with safe_open(path, "pt") as file:
            return ModelConfig.from_dict(json.loads(file.metadata()["model"]))
    except (OSError, SafetensorError, CheckpointError, KeyError, TypeError, ValueError):
        return None


def _origin(config: TrainConfig) -> Path | None:
    """Find the state to continue from: that of the run itself, or of the trunk that it branches off."""
    own = config.out / STATE
    if own.exists() or config.branch is None:
        return own if own.exists() else None
    return config.branch / STATE


def is_matrix(name: str, p: Tensor) -> bool:
    """Say whether Muon trains it: matrices of the backbone, without its ends and the router."""
    ends = name.startswith(("router.", "row.", "encoder.0.strided")) or name.endswith("bias")
    return p.ndim >= 2 and not ends and min(p.shape[-2:]) > 4
