"""A page about a run: summary, sortable table, spectrograms, players, the UF over time; one file, no network.

Thumbnails and excerpts are data URIs; recordings beside the page are linked (see `player`). File names are text
that anyone may have chosen: they reach the page through `html.escape` and `urllib.parse.quote` only.
"""

from __future__ import annotations

import html
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from slimclean.audio.atomic import replacing, shared_mode, writing
from slimclean.audio.av.film import track_in
from slimclean.batch.report import FileResult, totals
from slimclean.errors import UsageError, reason
from slimclean.show import player
from slimclean.show.assets import asset, escaped
from slimclean.show.clock import clock, decimals_of, scale, span
from slimclean.show.comparison import compare_result
from slimclean.show.view import Strip, View, view_of

if TYPE_CHECKING:
    from slimclean.enhancer import Enhancer

SHOWN = 200
"""Recordings with pictures and players; the table holds all. Each takes up to 300 KB of the page."""


class Column(NamedTuple):
    """A column of the table: what its header says, and the value of a row, None for an empty cell.

    `when` says where it stands: always, where a row has a value, or where none such takes the room.
    """

    header: str
    value: Callable[[FileResult], float | None]
    decimals: int
    when: Literal["always", "known", "room"] = "always"

    def known(self, result: FileResult) -> float | None:
        """Return the value of a row, None too where it is no number."""
        value = self.value(result)
        return value if value is not None and np.isfinite(value) else None


def _speed(result: FileResult) -> float | None:
    return 1 / result.rtf if result.rtf else None


def _change(result: FileResult) -> float | None:
    before, after = result.level_in_dbfs, result.level_out_dbfs
    if result.is_residual or before is None or after is None or not np.isfinite([before, after]).all():
        return None
    return after - before


TABLE = (
    Column("length (s)", lambda r: r.duration_s, 1),
    Column("mean UF", lambda r: r.mean_uf, 3),
    Column("MACs per sample", lambda r: r.macs_per_sample, 0, "room"),
    Column("GMACs", lambda r: r.gmacs, 2),
    Column("speed (x real time)", _speed, 1),
    Column("level in (dBFS)", lambda r: r.level_in_dbfs, 1),
    Column("level change (dB)", _change, 1),
    Column("noise reduction (dB)", lambda r: r.noise_reduction_db, 1),
    Column("level range (dB)", lambda r: r.level_range_db, 1, "known"),
    Column("loudness in (LUFS)", lambda r: r.loudness_in_lufs, 1, "known"),
    Column("loudness out (LUFS)", lambda r: r.loudness_out_lufs, 1, "known"),
    Column("true peak (dBTP)", lambda r: r.true_peak_dbtp, 1, "known"),
    Column("PESQ-WB", lambda r: r.pesq_wb, 2, "known"),
    Column("STOI", lambda r: r.stoi, 3, "known"),
    Column("SI-SDR (dB)", lambda r: r.si_sdr_db, 1, "known"),
)


def _columns(results: Sequence[FileResult]) -> list[Column]:
    """Return the columns that the table of these rows has."""
    known = {c for c in TABLE if c.when == "known" and any(c.known(r) is not None for r in results)}
    return [c for c in TABLE if c.when == "always" or c in known or (c.when == "room" and not known)]


def check_page(page: Path) -> None:
    """Raise `UsageError` for a name that is no page's, such as a recording's."""
    if page.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{page}: a page's name ends in .html")


def write_report(
    results: Sequence[FileResult],
    page: Path,
    enhancer: Enhancer,
    failed: Callable[[str], None] = lambda _: None,
) -> None:
    """Write the page on a run's results; `enhancer` holds the network that made them.

    A result with a `view` is shown as the run saw it; others are decoded again. A recording that cannot be read
    any more is told to `failed`, and its section says so, as does that of one that was replaced.
    """
    check_page(page)
    mode = shared_mode(Path(result.file) for result in results)
    with writing(page), replacing(page, mode) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(_page(results, page, enhancer, failed))


def _page(
    results: Sequence[FileResult], page: Path, enhancer: Enhancer, failed: Callable[[str], None]
) -> Iterator[str]:
    yield "<!DOCTYPE html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n"
    yield "<meta name='viewport' content='width=device-width, initial-scale=1'>\n"
    yield f"<title>slimclean report</title>\n<style>{asset('page.css')}</style>\n</head>\n<body>\n"
    settings = sorted({_setting(result) for result in results if result.uf})
    yield f"<h1>slimclean report</h1>\n<p class='soft'>{escaped('; '.join(settings))}</p>\n"
    yield from _tiles(results)
    shown = _shown(results)
    yield from _table(results, set(shown))
    yield "<h2>Recordings</h2>\n"
    left_out = sum(r.has_output for r in results) - len(shown)
    if left_out:
        yield f"<p>The first {len(shown)} that were enhanced; {left_out} more are in the table only.</p>\n"
    for k in shown:
        yield from _recording(k, results[k], page, enhancer, failed)
    yield f"<script>{asset('page.js')}</script>\n</body>\n</html>\n"


def _shown(results: Sequence[FileResult]) -> list[int]:
    """Return which have a section of their own: the first, rather those that still have what is to be drawn."""
    done = [k for k, result in enumerate(results) if result.has_output]
    drawable = [k for k in done if not results[k].is_gone]
    return sorted([*drawable, *sorted(set(done) - set(drawable))][:SHOWN])


def _setting(result: FileResult) -> str:
    return f"UF {result.uf}" + (f", target {result.target_uf:g}" if result.target_uf is not None else "")


def _tiles(results: Sequence[FileResult]) -> Iterator[str]:
    total = totals(results)
    tiles: list[tuple[str, str]] = [
        (str(n), status) for status, n in total.counts.items() if n or status == "enhanced"
    ]
    if warned := sum(bool(result.warnings) for result in results):
        tiles.append((str(warned), "with warnings"))
    if total.audio_s:
        tiles.append((clock(total.audio_s, decimals_of(total.audio_s)), "of audio"))
        if total.speed:
            tiles.append((f"{total.speed:.1f}x", "real time"))
        if total.mean_uf is not None:
            tiles.append((f"{total.mean_uf:.3f}", "mean UF"))
        tiles.append((f"{total.gmacs:.1f}", "GMACs"))
    yield "<ul class='tiles'>" + "".join(f"<li><b>{value}</b>{name}</li>" for value, name in tiles) + "</ul>\n"


def _table(results: Sequence[FileResult], shown: set[int]) -> Iterator[str]:
    headers = [("recording", "text", ""), ("status", "text", " class='status'")]
    columns = _columns(results)
    headers += [(column.header, "number", "") for column in columns]
    yield "<div class='scroll'><table class='sortable'>\n<thead><tr>"
    for name, kind, style in headers:
        yield f"<th scope='col' data-kind='{kind}'{style}><button type='button'>{name}</button></th>"
    yield "</tr></thead>\n<tbody>\n"
    for k, result in enumerate(results):
        name = escaped(result.file)
        cell = f"<a href='#r{k}'>{name}</a>" if k in shown else name
        status = escaped(": ".join(filter(None, [result.status, result.error or result.warnings])))
        yield f"<tr><td data-value='{name}'>{cell}</td>"
        kind = "warned" if result.warnings and result.status != "failed" else result.status
        yield f"<td class='status {escaped(kind)}' data-value='{status}'>{status}</td>"
        for column in columns:
            value = column.known(result)
            if value is None:
                yield "<td data-value=''></td>"
            else:
                shown_value = round(value, column.decimals) + 0.0  # no -0.0
                yield f"<td data-value='{value}'>{shown_value:,.{column.decimals}f}</td>"
        yield "</tr>\n"
    yield "</tbody></table></div>\n"


def _recording(
    number: int, result: FileResult, page: Path, enhancer: Enhancer, failed: Callable[[str], None]
) -> Iterator[str]:
    yield f"<section class='recording' id='r{number}'>\n<h3>{escaped(result.file)}</h3>\n"
    try:
        view = result.view
        if not isinstance(view, View) or view.before is None:
            view = view_of(compare_result(result, enhancer))
        rows = [*_sound_rows(result, view, page), *_uf_row(view)]
    except Exception as error:  # whatever one recording does, the others get their sections
        if not result.is_gone:
            failed(f"no picture: {reason(error)}")
        rows = [f"<p class='{'soft' if result.is_gone else 'failed'}'>{escaped(reason(error))}</p>\n"]
    else:
        removed = f" · level removed: {view.removed}" if view.removed else ""
        yield f"<p class='soft'>{escaped(result.output)}{removed}</p>\n"
    yield from rows
    yield "</section>\n"


def _sound_rows(result: FileResult, view: View, page: Path) -> Iterator[str]:
    strips, files = (view.before, view.after), (result.file, result.output)
    for name, file, strip in zip(view.sides, files, strips, strict=True):
        assert strip is not None
        yield f"<div class='row'><div class='name'>{name}<br><span class='soft'>0 to "
        yield f"{strip.top_khz:.3g} kHz</span></div>"
        of = escaped(f"{name}: {result.file}")
        yield f"<img alt='spectrogram {of}' src='{strip.image}'>"
        sound, what = _sound(name, file, result, strip, view.start_s, page)
        yield "<div>"
        if sound:
            yield f"<audio controls preload='none' aria-label='{of}' src='{html.escape(sound)}'></audio>"
        yield f"<div class='soft'>{what}</div></div></div>\n"


def _sound(
    name: str, file: str, result: FileResult, strip: Strip, start_s: float, page: Path
) -> tuple[str, str]:
    """Return where a player gets its sound from, "" for nowhere, and what it is."""
    if file == "-":
        return "", "went through a pipe"
    if name == "before" and os.path.realpath(result.file) == os.path.realpath(result.output):
        return "", "was replaced in place"
    if not strip.duration_s:
        return "", "holds no sound"
    track = result.track
    if name != "before":
        track = track_in(Path(result.output), Path(result.file), track)
    url = player.link(Path(file), page) if track is None else None  # browsers play the default track
    if url is not None:
        return url, "the whole recording, linked"
    what = f"{span(start_s, min(player.EXCERPT_S, strip.duration_s - start_s))}, inside this page"
    return player.excerpt(Path(file), start_s, track), what


def _uf_row(view: View) -> Iterator[str]:
    assert view.before is not None
    marks = scale(0, view.before.duration_s)
    yield "<div class='row'><div class='name'>UF</div><div>"
    if view.mean_uf is None:
        yield f"<div class='scale soft'>{marks}</div></div>"
        yield "<div class='soft'>not known: enhanced in an earlier run</div>"
    else:
        yield f"{view.uf_svg}<div class='scale soft'>{marks}</div></div>"
        lines = ", ".join(f"{uf:g}" for uf in view.ufs)
        yield f"<div class='soft'>mean {view.mean_uf:.3f} (line); marks at {lines}</div>"
    yield "</div>\n"
