"""A training run from files: gather the audio, hold some back for validation, train."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from slimclean import audio
from slimclean.dsp import SAMPLE_RATE
from slimclean.dsp.resample import resample
from slimclean.errors import CheckpointError, SlimcleanWarning, UsageError
from slimclean.model import ModelConfig, checkpoint
from slimclean.scoring.evaluation import Pair
from slimclean.scoring.metrics import SCORED, missing
from slimclean.train.calibrate import calibrate
from slimclean.train.config import STATE, TEACH_COUNT, VALID_COUNT, TrainConfig
from slimclean.train.dnsmos_loss import require_network
from slimclean.train.loop import train
from slimclean.train.mix import MixConfig, read_mix
from slimclean.train.mixer import Mixer
from slimclean.train.sources import Library, load_library, read_manifest, read_or_warn, scan_folder
from slimclean.train.state import saved_config
from slimclean.train.teach import teach
from slimclean.train.valid import VALID_MIX, mixed_pairs, validator

VALID_S = 4.0
CALIBRATION_COUNT = 48
"""Mixtures of training that a router is calibrated on where nothing is held back."""
HOLD_BACK = 20
"""Every 20th file of a folder is kept for validation; a manifest says which are."""


def train_from_files(
    config: TrainConfig,
    *,
    manifest: Path | None = None,
    speech: Sequence[Path] = (),
    noise: Sequence[Path] = (),
    rooms: Path | None = None,
    corpus_weights: Sequence[str] = (),
    cache: Path | None = None,
    init: str | None = None,
    sizes: Mapping[str, Any] | None = None,
    mix: Path | None = None,
    valid_count: int = VALID_COUNT,
    teach_count: int | None = None,
) -> Path:
    """Train on a manifest or on folders; returns the checkpoint. Raises `UsageError` for half of a pair.

    `sizes` are fields of `ModelConfig`; the others are those of the run to go on from, or of `init`, or the
    default ones. `mix` is a file for `read_mix`; validation keeps a mix of its own. At the end the router is
    taught on `teach_count` mixtures, None for `TEACH_COUNT`, and calibrated. One that is frozen is taught only
    where that is asked for; one that is frozen and not taught stays as it is.
    """
    if teach_count is None:
        teach_count = 0 if config.freeze_router else TEACH_COUNT
    if (bool(speech) or bool(noise)) if manifest else not (speech and noise):
        raise UsageError("training wants either `manifest`, or both `speech` and `noise`")
    if config.opinion:
        require_network()  # what is missing is better known before the audio is decoded
    for name, lack in missing(SCORED).items() if valid_count and config.steps else ():
        warnings.warn(f"{name} stays empty in valid.csv: {lack}", SlimcleanWarning, stacklevel=2)
    start = checkpoint.find(init) if init else None
    if config.freeze_router and not (init or config.branch or teach_count or (config.out / STATE).exists()):
        raise UsageError("`freeze_router` wants a router: `init`, or `branch`")
    model = model_config(start, sizes or {}, begun=saved_config(config))
    mixed = read_mix(mix) if mix else MixConfig()
    if changes := mixed.changes():
        config = dataclasses.replace(config, info=config.info | {"mix": changes})
    weights = _parse_weights(corpus_weights)
    recordings = _Recordings(manifest, speech, noise, cache or config.out / "cache", weights)
    responses = _read_rooms(rooms) if rooms else None
    libraries = recordings.libraries("train")
    corpora = {clip.corpus for library in libraries for clip in library.clips}
    if strange := [name for name in weights if name not in corpora]:
        raise UsageError(f"no corpus named {strange[0]}; there are {', '.join(sorted(corpora))}")
    mixer = Mixer(*libraries, mixed, responses)
    pairs: list[Pair] = []
    if valid_count:
        held_back = Mixer(*recordings.libraries("valid"), VALID_MIX, responses)
        pairs = mixed_pairs(held_back, valid_count, VALID_S)
    validate = validator(pairs) if pairs and config.steps else None
    path = train(config, mixer, model_config=model, init=start, validate=validate)
    if teach_count or (pairs and not config.freeze_router):
        network, header = checkpoint.load(path)
        if teach_count:
            teach(network, mixer, teach_count, config.seed)
        calibrate(network, [pair.noisy for pair in pairs or mixed_pairs(mixer, CALIBRATION_COUNT, VALID_S)])
        checkpoint.save(path, header.config, dict(network.named_parameters()), header.info)
    return path


@dataclass(frozen=True)
class _Recordings:
    """What to train and validate on: the rows of a manifest, or what lies in folders of speech and of noise."""

    manifest: Path | None
    speech: Sequence[Path]
    noise: Sequence[Path]
    cache: Path
    weights: dict[str, float]

    def libraries(self, split: Literal["train", "valid"]) -> tuple[Library, Library]:
        """Load speech and noise. Raises `UsageError` where there is none of one."""
        return self._library("speech", self.speech, split), self._library("noise", self.noise, split)

    def _library(self, kind: str, folders: Sequence[Path], split: str) -> Library:
        if self.manifest is not None:
            files = read_manifest(self.manifest, kind, split)
        else:
            found = [entry for folder in folders for entry in scan_folder(folder)]
            files = [f for k, f in enumerate(found) if (k % HOLD_BACK == HOLD_BACK - 1) == (split == "valid")]
        if not files:
            raise UsageError(f"no {split} {kind} found; folders need at least {HOLD_BACK} recordings")
        return load_library(files, self.cache, self.weights)


def model_config(init: Path | None, sizes: Mapping[str, Any], begun: ModelConfig | None = None) -> ModelConfig:
    """Size the network to train, but for `sizes`: as in a run `begun` before, in `init`, or by default.

    Beside the weights to start from, the router's UFs and targets are the default ones, for a router may be
    new beside old weights; its dilations are those of `init`. Raises `UsageError` where the sizes do not fit
    each other.
    """
    base = begun or ModelConfig()
    if init is not None and begun is None:
        of_init = checkpoint.read_header(init).config
        base = dataclasses.replace(of_init, ufs=base.ufs, target_knots=base.target_knots)
    try:
        return dataclasses.replace(base, **sizes)
    except CheckpointError as error:
        raise UsageError(f"no network has these sizes: {error}") from error


def _parse_weights(entries: Sequence[str]) -> dict[str, float]:
    weights = {}
    for entry in entries:
        name, _, factor = entry.partition("=")
        try:
            weights[name] = float(factor)
        except ValueError as error:
            raise UsageError(f"`corpus_weights` takes NAME=FACTOR, not {entry!r}") from error
        if not 0 <= weights[name] < math.inf:
            raise UsageError(f"`corpus_weights` takes factors from 0 on, not {factor}")
    return weights


def _read_rooms(folder: Path) -> list[np.ndarray]:
    """Read impulse responses [T], cut to begin with the direct sound and scaled to make it 1."""
    responses = []
    for path in audio.walk(folder):
        waveform, rate = read_or_warn(path)
        x = resample(waveform[:1], rate, SAMPLE_RATE)[0]
        direct = int(np.abs(x).argmax()) if len(x) else 0
        if len(x) and x[direct] != 0:
            responses.append((x[direct:] / x[direct]).astype(np.float32))
    if not responses:
        raise UsageError(f"no room impulse responses in {folder}")
    return responses
