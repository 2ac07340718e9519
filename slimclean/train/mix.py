"""The table of what training mixes, and how often; `mixer` does the mixing.

Another mix is a file of the rows that differ, which `read_mix` and `slimclean train --mix FILE` read:

    # an office: two noises at a time, hardly any reverberation, nothing from a telephone
    two_noises = 0.6
    reverb = 0.02
    narrowband = 0
    snr_db = 0, 8, 20
"""

from __future__ import annotations

import configparser
import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slimclean.errors import UsageError


@dataclass(frozen=True)
class MixConfig:
    """What to mix: a share of the examples from 0 to 1, a range in dB from least to most, or yes and no.

    Raises `UsageError` for a row that is nothing of that.
    """

    snr_db: tuple[float, float, float] = (-5.0, 10.0, 25.0)
    """Least, likeliest and most: a triangular distribution."""
    faint_noise: float = 0.15
    """Noise at `faint_snr_db` instead, and no rumble, as in a good recording."""
    faint_snr_db: tuple[float, float, float] = (14.0, 28.0, 50.0)
    local_level: bool = True
    """Bring every passage to its level, as `Enhancer` does before the network hears it."""
    level_db: tuple[float, float] = (-3.0, 3.0)
    """Around the nominal RMS of 1."""
    noise_only: float = 0.05
    clean_only: float = 0.06
    # Noise: what is drawn is music, else synthetic, else babble, else a recording.
    two_noises: float = 0.25
    music: float = 0.08
    synthetic_noise: float = 0.2
    babble: float = 0.1
    speed: float = 0.5
    """Of recorded noise: it runs faster or slower."""
    filtered_noise: float = 0.4
    """Of recorded noise: its spectrum is bent."""
    gated_noise: float = 0.04
    """Noise that comes and goes."""
    rumble: float = 0.4
    rumble_snr_db: tuple[float, float, float] = (-8.0, 6.0, 25.0)
    slam: float = 0.03
    slam_db: tuple[float, float] = (6.0, 30.0)
    """Its peak, above the speech."""
    # Speech.
    quiet_targets: bool = True
    """Take the floor of the speech recordings out of the targets, so that it is noise like any other."""
    reverb: float = 0.15
    filtered_speech: float = 0.15
    voice_speed: float = 0.4
    """The voice runs faster or slower, and so becomes higher or deeper: another speaker's."""
    whispered: float = 0.04
    turned_away: float = 0.04
    """For a while, from the microphone."""
    fade: float = 0.04
    long_pause: float = 0.1
    """Nobody speaks for seconds, as never happens in sentences that are read."""
    two_speakers: float = 0.12
    softer_db: tuple[float, float] = (0.0, 30.0)
    """The second speaker, under the first."""
    # Both: what a device does to them.
    narrowband: float = 0.02
    clipped: float = 0.02

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            name, default, value = field.name, field.default, getattr(self, field.name)
            if isinstance(default, tuple):
                if (
                    len(value) != len(default)
                    or not all(map(math.isfinite, value))
                    or sorted(value) != list(value)
                ):
                    raise UsageError(f"{name} takes {len(default)} numbers in rising order, not {value}")
            elif not isinstance(default, bool) and not 0 <= value <= 1:
                raise UsageError(f"{name} takes a share from 0 to 1, not {value}")
        if self.noise_only + self.clean_only > 1:
            raise UsageError("noise_only and clean_only are more than 1 together")

    def changes(self) -> dict[str, object]:
        """List the rows that differ from the packaged mix."""
        return {k: v for k, v in dataclasses.asdict(self).items() if v != getattr(MixConfig, k)}


def read_mix(path: Path) -> MixConfig:
    """Read a mix from a file of rows NAME = VALUE; what is not in it is as by default. Raises `UsageError`.

    Ranges are numbers between commas, # begins a comment.
    """
    parser = configparser.ConfigParser(inline_comment_prefixes="#", interpolation=None)
    try:
        parser.read_string("[mix]\n" + path.read_text(encoding="utf-8-sig"), str(path))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    except (configparser.Error, UnicodeError) as error:
        raise UsageError(f"{path}: not a mix ({' '.join(str(error).split())})") from error
    if others := parser.sections()[1:]:
        raise UsageError(f"{path}: has a section {others[0]}, where rows NAME = VALUE are wanted")
    try:
        rows: dict[str, Any] = {name: _parsed(name, text) for name, text in parser["mix"].items()}
        return MixConfig(**rows)
    except (UsageError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from error


def _parsed(name: str, text: str) -> bool | float | tuple[float, ...]:
    defaults = {field.name: field.default for field in dataclasses.fields(MixConfig)}
    if name not in defaults:
        raise UsageError(f"no row of a mix is called {name}; there are {', '.join(defaults)}")
    if isinstance(defaults[name], bool):
        if text not in ("yes", "no"):
            raise UsageError(f"{name} takes yes or no, not {text}")
        return text == "yes"
    if isinstance(defaults[name], tuple):
        return tuple(float(number) for number in text.split(","))
    return float(text)
