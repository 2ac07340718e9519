"""The learning curve: hours of mixed audio against every measure, at UF 1.

    python examples/learning.py examples/learning.csv -o learning.png

A row of the CSV is what one set of weights scores on one set of recordings, as `slimclean evaluate --mos` says.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from slimclean.scoring.metrics import METRICS
from slimclean.show.plot import BLUE, ORANGE, require_matplotlib

MEASURES = ("pesq_wb", "stoi", "si_sdr_db", "pause_db", "dnsmos_ovrl")
COLOURS = (BLUE, ORANGE)


def main(table: Path, picture: Path) -> None:
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    figure = require_matplotlib().figure.Figure(figsize=(12, 3.2), dpi=110, layout="constrained")
    for axis, measure in zip(figure.subplots(1, len(MEASURES)), MEASURES, strict=True):
        for recordings, colour in zip(dict.fromkeys(row["recordings"] for row in rows), COLOURS, strict=False):
            each = [row for row in rows if row["recordings"] == recordings]
            hours, values = ([float(row[name]) for row in each] for name in ("hours", measure))
            axis.plot(hours, values, "o-", color=colour, linewidth=1, label=recordings)
        axis.set(xlabel="hours of audio", title=METRICS[measure].axis)
        axis.title.set_fontsize("medium")
        axis.grid(alpha=0.3)
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize="small")
    figure.savefig(picture)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, help="picture to draw")
    arguments = parser.parse_args()
    main(arguments.table, arguments.output)
