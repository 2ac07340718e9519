"""The paper's headline, in its own form: routers trained with a backbone of their own, beside static widths.

    python examples/headline.py ./clean ./noisy --static static.safetensors \\
        --dynamic joint=joint.safetensors --dynamic packaged=slim-demucs-15 -o headline.png

The folders hold recordings of the same names. The static points are one slimmable backbone at four UFs; a
dynamic point is a network at a target UF. For each the table tells how many MACs it saves against static 0.25,
how far it lies from that in each measure, and in what some static point is both cheaper and better, as in the
paper's Pareto figure. The picture shows them all: squares are static, discs dynamic.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import joblib

from slimclean.model import checkpoint
from slimclean.scoring.evaluation import Row, Setting, evaluate, folder_pairs, macs_of
from slimclean.scoring.metrics import CORE, METRICS
from slimclean.scoring.tables import table
from slimclean.show.plot import BLUE, GREY, ORANGE, require_matplotlib

STATIC: tuple[Setting, ...] = tuple((uf, 0.25) for uf in (0.125, 0.25, 0.5, 1.0))
REFERENCE_UF = "0.25"
COLOURS = (BLUE, ORANGE, "#009e73", "#cc79a7")


def compared(name: str, row: Row, static: list[Row]) -> Row:
    """A dynamic point as a row of the table."""
    reference = next(point for point in static if point["uf"] == REFERENCE_UF)
    out: Row = {"network": name, "target": row["target_uf"], "mean_uf": row["mean_uf"]}
    out["macs"] = macs_of(row)
    out["saves"] = f"{1 - macs_of(row) / macs_of(reference):.0%}"
    for measure in CORE:
        out[measure] = row[measure]
    for measure in CORE:
        out[f"{measure.split('_')[0]} - {REFERENCE_UF}"] = float(row[measure]) - float(reference[measure])
    cheaper = [point for point in static if macs_of(point) <= macs_of(row)]
    beaten = [m for m in CORE if any(float(point[m]) > float(row[m]) for point in cheaper)]
    out["beaten by a static in"] = ", ".join(METRICS[m].label for m in beaten) or "nothing"
    return out


def draw(static: list[Row], dynamic: dict[str, list[Row]], picture: Path) -> None:
    figure = require_matplotlib().figure.Figure(figsize=(10, 4), dpi=110, layout="constrained")
    for axis, measure in zip(figure.subplots(1, len(CORE)), CORE, strict=True):
        for (name, rows), colour in zip(dynamic.items(), COLOURS, strict=False):
            points = sorted(rows, key=macs_of)
            x, y = [macs_of(row) / 1000 for row in points], [float(row[measure]) for row in points]
            axis.plot(x, y, "o", color=colour, label=name)
        x, y = [macs_of(row) / 1000 for row in static], [float(row[measure]) for row in static]
        axis.step(x, y, where="post", color=GREY, linewidth=1)
        axis.plot(x, y, "s", color=GREY, label="static")
        for at, height, row in zip(x, y, static, strict=True):
            axis.annotate(f"{row['uf']}", (at, height), (4, -11), textcoords="offset points", color=GREY)
        axis.set(xlabel="thousand MACs per sample", ylabel=METRICS[measure].axis, xscale="log")
        axis.set_xticks([8, 10, 16, 30, 56], ["8", "10", "16", "30", "56"])
        axis.minorticks_off()
        axis.margins(x=0.15)
        axis.grid(alpha=0.3)
    axis.legend(loc="lower right", fontsize="small")
    figure.savefig(picture)


def main(
    clean: Path, noisy: Path, static: str, dynamic: list[str], targets: list[float], picture: Path | None
) -> None:
    pairs = folder_pairs(clean, noisy)

    def rows(model: str, settings: tuple[Setting, ...]) -> list[Row]:
        network = checkpoint.load(model)[0]
        return list(evaluate(network, pairs, settings, baseline=False, jobs=joblib.cpu_count()))

    fixed = rows(static, STATIC)
    print(
        table([{"static": row["uf"], "macs": macs_of(row), **{m: row[m] for m in CORE}} for row in fixed]),
        end="\n\n",
    )
    points = {}
    for entry in dynamic:
        name, _, model = entry.rpartition("=")
        points[name or model] = rows(model, tuple(("auto", target) for target in targets))
    print(table([compared(name, row, fixed) for name, each in points.items() for row in each]))
    if picture is not None:
        draw(fixed, points, picture)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clean", type=Path)
    parser.add_argument("noisy", type=Path)
    parser.add_argument("--static", required=True, help="checkpoint trained at static widths")
    parser.add_argument("--dynamic", action="append", required=True, help="NAME=CHECKPOINT; repeatable")
    parser.add_argument("--targets", type=float, nargs="+", default=[0.1, 0.16, 0.25])
    parser.add_argument("-o", "--output", type=Path, help="picture to draw")
    arguments = parser.parse_args()
    main(
        arguments.clean,
        arguments.noisy,
        arguments.static,
        arguments.dynamic,
        arguments.targets,
        arguments.output,
    )
