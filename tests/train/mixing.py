"""Shared by the tests of training: a mix without surprises, and a mixer with one room."""

from __future__ import annotations

import numpy as np

from slimclean.train.mix import MixConfig
from slimclean.train.mixer import Mixer

PLAIN = MixConfig(
    noise_only=0, clean_only=0, reverb=0, two_noises=0, synthetic_noise=0, babble=0, speed=0,
    rumble=0, filtered_noise=0, filtered_speech=0, gated_noise=0, narrowband=0, clipped=0,
    quiet_targets=False, two_speakers=0, fade=0, turned_away=0, slam=0, local_level=False, voice_speed=0,
    faint_noise=0, long_pause=0,
)  # fmt: skip


def mixer_of(libraries, config=None) -> Mixer:
    return Mixer(*libraries, config, rooms=[np.array([1, 0, 0.5], np.float32)])
