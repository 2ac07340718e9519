"""Time a run over many short recordings of which most are done, as after an interrupt.

    python examples/many_files.py --files 20000 --done 19900

Makes them in a temporary folder, runs `slimclean enhance` with a report twice, and prints how long each took.
On a machine that is busy with other things, the processor time tells more.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile


def main(files: int, done: int, arguments: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        takes, out, report = Path(folder, "takes"), Path(folder, "out"), Path(folder, "report.csv")
        memory = io.BytesIO()
        noise = 0.01 * np.random.default_rng(0).normal(size=800)
        soundfile.write(memory, noise, 16_000, "PCM_16", format="WAV")  # a twentieth of a second
        takes.mkdir()
        out.mkdir()
        for k in range(files):
            (takes / f"{k:06}.wav").write_bytes(memory.getvalue())
        for k in range(done):
            (out / f"{k:06}.wav").write_bytes(memory.getvalue())
        command = [sys.executable, "-m", "slimclean", "enhance", takes, "-o", out, "--report", report]
        for left in (files - done, 0):
            started, before = time.perf_counter(), os.times()
            subprocess.run([*map(str, command), "--quiet", *arguments], check=True)
            spent, after = time.perf_counter() - started, os.times()
            processor = after.children_user + after.children_system
            processor -= before.children_user + before.children_system
            rows = len(report.read_text().splitlines()) - 1
            times = f"{spent:.1f} s, {processor:.1f} s of processor time"
            print(f"{files} recordings, {left} of them to do: {times}; {rows} rows in the report")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--done", type=int, default=19_900)
    known, rest = parser.parse_known_args()
    main(known.files, known.done, rest)
