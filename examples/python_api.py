"""Enhance from Python: a waveform in, a waveform and the UF of every frame out.

python examples/python_api.py examples/recordings/voice-memo-16k.wav
"""

from __future__ import annotations

import sys
from pathlib import Path

from slimclean import Enhancer, audio

enhancer = Enhancer(uf="auto", target_uf=0.25)
for name in sys.argv[1:]:
    waveform, sample_rate = audio.read(Path(name))  # float32 [channels, samples]
    enhanced, uf = enhancer(waveform, sample_rate)
    macs = enhancer.macs_per_sample(uf)
    print(
        f"{name}: {enhanced.shape[1] / sample_rate:.2f} s, mean UF {uf.mean():.3f}, {macs:.0f} MACs per sample"
    )
