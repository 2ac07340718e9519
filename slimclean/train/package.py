"""Make a trained checkpoint ready to ship: half precision, a name, its licence and scores.

    python -m slimclean.train.package runs/first/model.safetensors NAME CLEAN NOISY --licence LICENCE

writes slimclean/weights/NAME.safetensors, scored on the pairs as it will be loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from slimclean.model import checkpoint
from slimclean.scoring import evaluation
from slimclean.scoring.tables import table

SHOWN = {"1.0", "0.25", "auto"}


def package(
    source: Path,
    name: str,
    clean: Path,
    noisy: Path,
    licence: Annotated[str, typer.Option()],
    about: Annotated[str, typer.Option(help="What it was trained on, for the header.")] = "",
) -> None:
    """Store `source` as packaged weights in float16 and print its scores before and after."""
    network, header = checkpoint.load(source)
    pairs = evaluation.folder_pairs(clean, noisy)
    target = checkpoint.WEIGHTS / f"{name}{checkpoint.SUFFIX}"
    info = {"licence": licence, "about": about, "training": header.info.get("training", {}), "scores": []}
    weights = dict(network.named_parameters())
    checkpoint.save(target, header.config, weights, info, torch.float16)
    print(table(list(evaluation.evaluate(network, pairs, ((1.0, 0.25),)))))
    rows = list(evaluation.evaluate(checkpoint.load(target)[0], pairs))
    print(table(rows))
    lines = [_score_line(row) for row in rows if row["uf"] in SHOWN and row["target_uf"] in ("", 0.25)]
    lines.insert(0, f"on {len(pairs)} pairs: PESQ-WB, STOI, SI-SDR")
    checkpoint.save(target, header.config, weights, info | {"scores": lines}, torch.float16)


def _score_line(row: evaluation.Row) -> str:
    setting = f"auto at {row['target_uf']}" if row["uf"] == "auto" else f"UF {row['uf']}"
    return (
        f"{setting}: {row['pesq_wb']:.3f}, {row['stoi']:.3f}, {row['si_sdr_db']:.2f} dB"
        f" at {row['macs_per_sample']:.0f} MACs per sample"
    )


if __name__ == "__main__":
    typer.run(package)
