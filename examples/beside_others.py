"""Score our outputs beside somebody else's on the same recordings, such as those of the method's authors.

    python examples/beside_others.py clean noisy theirs

Takes the recordings that are in the folder `theirs`; `clean` and `noisy` may hold more; all three are
flat. Prints mean PESQ-WB, STOI and SI-SDR of the noisy recordings, of theirs, and of ours at several settings.
Needs the extra `score`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from slimclean import Enhancer, enhance_paths, score_pairs
from slimclean.audio.names import by_name
from slimclean.scoring.metrics import CORE
from slimclean.scoring.pairs import ScorePair, summarise
from slimclean.scoring.tables import table

SETTINGS = (0.125, 0.25, 0.5, 1.0, "auto")


def main(clean: Path, noisy: Path, theirs: Path) -> None:
    wanted = sorted(by_name(theirs))
    references = by_name(clean)

    def row(name: str, folder: Path) -> dict[str, object]:
        estimates = by_name(folder)
        scores = score_pairs([ScorePair(k, references[k], estimates[k]) for k in wanted])
        means = {cells["metric"]: cells["mean"] for cells in summarise(scores, CORE)}
        return {"recordings": name, "n": len(scores), **means}

    rows = [row("noisy", noisy), row("theirs", theirs)]
    with tempfile.TemporaryDirectory() as folder:
        for uf in SETTINGS:
            out = Path(folder, str(uf))
            out.mkdir()
            recordings = by_name(noisy)
            enhance_paths([recordings[k] for k in wanted], out, Enhancer(uf, target_uf=0.5))
            rows.append(row("ours, auto .5" if uf == "auto" else f"ours, UF {uf}", out))
    print(table(rows))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
