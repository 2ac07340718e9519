"""The HTML report: complete, escaped, without a network, and alive in a browser."""

from __future__ import annotations

import base64
import html.parser
import io
import json
import os
import re
import shutil
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile
from audio.films import make_film
from conftest import SMALL, identity_enhancer, run, voice
from typer.testing import CliRunner

from slimclean import audio
from slimclean.batch.report import COLUMNS, FileResult
from slimclean.batch.report_file import ReportWriter
from slimclean.batch.report_reading import read_report
from slimclean.batch.trace import Comparison
from slimclean.cli import app
from slimclean.dsp.spectrogram import spectrogram
from slimclean.errors import SlimcleanError, UsageError
from slimclean.model import checkpoint
from slimclean.scoring.tables import write_rows
from slimclean.show import player, png
from slimclean.show.clock import clock, scale, span
from slimclean.show.comparison import compare
from slimclean.show.page import TABLE, write_report
from slimclean.show.view import removed, view_of

EVIL = "a <img src=x onerror=alert(1)> & 'q' \"r\" #1 100%.flac"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def result(file: Path, output: Path, **values) -> FileResult:
    known = {"status": "enhanced", "duration_s": 0.5, "uf": "auto", "target_uf": 0.25, "rtf": 0.1}
    return FileResult(str(file), str(output), **(known | values))


@pytest.fixture
def results(tmp_path):
    """One enhanced below the page's folder, of a name that attacks; one outside it, one skipped, one failed."""
    page = tmp_path / "page"
    for folder in ("page/in", "page/out", "other"):
        (tmp_path / folder).mkdir(parents=True)
    for path in (page / "in" / EVIL, page / "out" / EVIL, page / "in" / "b.wav", tmp_path / "other" / "b.wav"):
        soundfile.write(path, voice(0.5), 16_000)
    return [
        result(page / "in" / EVIL, page / "out" / EVIL, duration_s=2.0, mean_uf=0.5, processing_s=0.1),
        result(page / "in" / "b.wav", tmp_path / "other" / "b.wav", duration_s=10.0, mean_uf=0.125),
        result(page / "in" / "b.wav", page / "out" / EVIL, status="skipped", uf="", target_uf=None),
        FileResult("</td><script>alert(2)</script>", "y", error="broken <b>"),
    ]


def full_row(file: Path, **values) -> FileResult:
    """Return the row of a recording of a second, with a view and all that the table may show."""
    seen = spectrogram([voice(1.0)[None]], 16_000)
    known = {
        "duration_s": 1.0, "mean_uf": 0.5, "gmacs": 1.0, "macs_per_sample": 54_321.0, "level_range_db": 12.0,
        "loudness_in_lufs": -23.4, "loudness_out_lufs": -16.1, "true_peak_dbtp": -1.2, "pesq_wb": 2.71,
        "stoi": 0.912, "si_sdr_db": 13.5, "view": view_of(Comparison(seen, seen, np.zeros(0))),
    }  # fmt: skip
    soundfile.write(file, voice(1.0), 16_000)
    return result(file, file, **(known | values))


class Elements(html.parser.HTMLParser):
    """Counts tags, and keeps the attributes of those that load something."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.sources, self.text = {}, [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.sources += [(tag, v) for k, v in attributes if k in ("src", "href", "srcset", "data", "action")]
        assert not [k for k, _ in attributes if k.startswith("on")]

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_holds_everything_and_nothing_from_elsewhere(tmp_path, results):
    page = tmp_path / "page" / "report.html"
    write_report(results, page, identity_enhancer())
    text = page.read_text(encoding="utf-8")
    seen = Elements(text)
    assert seen.tags["section"] == 3
    assert seen.tags["img"] == seen.tags["audio"] == 6
    assert seen.tags["svg"] == 2
    assert seen.tags["tr"] == 5
    assert seen.tags["script"] == 1
    shown = "".join(seen.text)
    assert EVIL in shown
    assert "broken <b>" in shown
    assert "2 enhanced" not in shown  # tiles hold number and name apart
    assert "not known: enhanced in an earlier run" in shown
    for tag, source in seen.sources:
        if tag == "audio" and not source.startswith("data:audio/mpeg;base64,"):
            assert (page.parent / unquote(source)).is_file()
        elif tag == "img":
            assert source.startswith("data:image/png;base64,")
        elif tag == "a":
            assert re.fullmatch(r"#r\d+", source)
    assert sum(source.startswith("data:audio") for tag, source in seen.sources if tag == "audio") == 1
    assert not re.findall(r"//|url\(|@import|fetch", re.sub(r"base64,[^']*", "", text))
    assert [p.name for p in page.parent.iterdir() if p.is_file()] == ["report.html"]


def test_the_table_shows_what_some_row_knows(tmp_path):
    rows = [full_row(tmp_path / "a.wav"), FileResult("b", "c", error="broken")]
    headers = {"loudness in (LUFS)": "-23.4", "loudness out (LUFS)": "-16.1",
               "true peak (dBTP)": "-1.2", "level range (dB)": "12.0", "PESQ-WB": "2.71",
               "STOI": "0.912", "SI-SDR (dB)": "13.5"}  # fmt: skip
    write_report(rows, tmp_path / "r.html", identity_enhancer())
    text = (tmp_path / "r.html").read_text()
    for header, cell in headers.items():
        assert f">{header}<" in text
        assert f">{cell}</td>" in text
    assert "MACs per sample" not in text
    plain = FileResult("a", "b", "failed", macs_per_sample=54_321.0)
    write_report([plain], tmp_path / "r.html", identity_enhancer())
    text = (tmp_path / "r.html").read_text()
    assert not [header for header in headers if header in text]
    assert "54,321" in text


def test_warnings_are_counted_and_have_a_colour(tmp_path):
    rows = [full_row(tmp_path / "a.wav", warnings="clips <b>"), full_row(tmp_path / "b.wav")]
    write_report(rows, tmp_path / "r.html", identity_enhancer())
    text = (tmp_path / "r.html").read_text()
    assert "<li><b>1</b>with warnings</li>" in text
    assert text.count("class='status warned'") == text.count("class='status enhanced'") == 1
    assert ".warned {" in text
    write_report(rows[1:], tmp_path / "r.html", identity_enhancer())
    assert "with warnings" not in (tmp_path / "r.html").read_text()


def test_players_and_pictures_are_named_for_those_who_cannot_see(tmp_path):
    row = full_row(tmp_path / "it's <a>.wav")
    row.output = str(tmp_path / "b.wav")
    soundfile.write(row.output, voice(1.0), 16_000)
    write_report([row], tmp_path / "r.html", identity_enhancer())
    text = (tmp_path / "r.html").read_text()
    for side in ("before", "after"):
        name = html.escape(f"{side}: {row.file}")
        assert f"<img alt='spectrogram {name}'" in text
        assert f"<audio controls preload='none' aria-label='{name}'" in text


@pytest.mark.parametrize(
    ("seconds", "marks"),
    [(0.05, ["0:00.000", "0:00.012", "0:00.025", "0:00.038", "0:00.050"]),
     (1.0, ["0:00.00", "0:00.25", "0:00.50", "0:00.75", "0:01.00"]),
     (10.0, ["0:00.0", "0:02.5", "0:05.0", "0:07.5", "0:10.0"]),
     (7200.0, ["0:00", "30:00", "1:00:00", "1:30:00", "2:00:00"]), (0.0, ["0:00.0"] * 5)],
)  # fmt: skip
def test_marks_of_time_are_told_apart(seconds, marks):
    assert re.findall(r"<span>(.*?)</span>", scale(0, seconds)) == marks


def test_times_have_the_decimals_that_they_need():
    assert span(59.96, 0.05) == "0:59.960 to 1:00.010"
    assert span(3599.7, 10.0) == "1:00:00 to 1:00:10"
    assert clock(3599.96, 1) == "1:00:00.0"


def test_players_and_pictures_are_of_the_track_that_was_enhanced(tmp_path, weights):
    """On the page of a run, on that of its report, and where a film is compared or drawn."""
    make_film(tmp_path / "same.mp4", "aac", voice(2.0, 48_000)[None], sounds=2)
    stored = audio.plan_output(
        replace(audio.probe(tmp_path / "same.mp4"), track=2), tmp_path / "same.mp4", tmp_path / "a.mp4"
    )
    tone = (0.5 * np.sin(np.arange(96_000) * 2 * np.pi * 440 / 48_000)).astype(np.float32)
    with audio.AudioWriter(tmp_path / "a.mp4", stored, tmp_path / "same.mp4") as writer:
        writer.write(tone[None])
        writer.commit()

    def is_tone(x, rate):
        spectrum = np.abs(np.fft.rfft(x)) ** 2
        near = np.abs(np.fft.rfftfreq(len(x), 1 / rate) - 440) < 10
        return spectrum[near].sum() > 0.9 * spectrum.sum()

    report, page = tmp_path / "r.csv", tmp_path / "run.html"
    options = ["--uf", 1, "--dry", 1, "-m", weights]
    for track in (None, 2):
        asked = [] if track is None else ["--track", track]
        output = tmp_path / f"{track}.mp4"
        done = run(
            "enhance", tmp_path / "a.mp4", "-o", output, "--report", report, "--html", page, *options, *asked
        )
        assert done.exit_code == 0, done.output
        assert read_report(report)[0].track == track
        assert run("report", report, "-o", tmp_path / "later.html", "-m", weights).exit_code == 0
        sounds = [
            source
            for made in (page, tmp_path / "later.html")
            for tag, source in Elements(made.read_text()).sources
            if tag == "audio"
        ]
        assert len(sounds) == 4
        for source in sounds:
            if track is None:
                assert source in ("./a.mp4", "./None.mp4")
            else:
                data = base64.b64decode(source.removeprefix("data:audio/mpeg;base64,"))
                assert is_tone(*soundfile.read(io.BytesIO(data)))
        compared = ["compare", tmp_path / "a.mp4", "--enhanced", output, "-o", tmp_path / "c.html", *asked]
        assert run(*compared).exit_code == 0
        text = (tmp_path / "c.html").read_text()
        data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text)[1])
        for side in ("before", "after"):
            heard = soundfile.read(io.BytesIO(base64.b64decode(data[side]["sound"])))
            assert is_tone(*heard) == (track == 2)
        found = compare(tmp_path / "a.mp4", output, None, track)
        removed_db = 10 * np.log10(found.before.power.sum() / found.after.power.sum())
        assert abs(removed_db) < 1
        report.unlink()


def test_only_some_get_pictures(tmp_path, results, monkeypatch):
    monkeypatch.setattr("slimclean.show.page.SHOWN", 1)
    write_report(results, tmp_path / "r.html", identity_enhancer())
    text = (tmp_path / "r.html").read_text()
    assert text.count("<section") == 1
    assert "2 more are in the table only" in text


def test_those_that_were_replaced_get_none_while_others_have_theirs(tmp_path, results, monkeypatch):
    monkeypatch.setattr("slimclean.show.page.SHOWN", 1)
    gone, told = result(tmp_path / "page/in/b.wav", tmp_path / "page/in/b.wav"), []
    write_report([gone, results[1]], tmp_path / "r.html", identity_enhancer(), told.append)
    assert told == []
    assert (tmp_path / "r.html").read_text().count("<section") == 1


def test_recordings_that_are_gone_are_told(tmp_path, results):
    (tmp_path / "other" / "b.wav").unlink()
    told = []
    write_report(results, tmp_path / "r.html", identity_enhancer(), told.append)
    assert len(told) == 1
    assert "b.wav: no such file" in told[0]
    assert (tmp_path / "r.html").read_text().count("<section") == 3


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl"])
def test_the_page_of_a_second_run_tells_what_the_report_holds_of_the_first(tmp_path, weights, name):
    (tmp_path / "in").mkdir()
    for k, half in enumerate("ab"):
        soundfile.write(tmp_path / "in" / f"{half}.wav", voice(0.3), 16_000)
        page = tmp_path / f"{k}.html"
        command = ["enhance", tmp_path / "in", "-o", tmp_path / "out", "-m", weights, "--html", page]
        assert run(*command, "--report", tmp_path / name).exit_code == 0
    later = tmp_path / "later.html"
    assert run("report", tmp_path / name, "-o", later, "-m", weights).exit_code == 0
    rows = [re.findall(r"<tr>.*</tr>", made.read_text()) for made in (page, later)]
    assert [len(of_page) for of_page in rows] == [3, 3]
    assert rows[0][1] == rows[1][1]
    assert "not known" not in page.read_text()


def test_a_page_has_a_pages_name(tmp_path, results):
    with pytest.raises(UsageError, match=r"ends in \.html"):
        write_report(results, tmp_path / "report.wav", identity_enhancer())
    write_report([], tmp_path / "empty.html", identity_enhancer())
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SlimcleanError, match="cannot write"):
        write_report(results, tmp_path / "file" / "r.html", identity_enhancer())


def test_names_that_are_no_text(tmp_path):
    name = b"\xff.wav".decode("utf-8", "surrogateescape")
    write_report([FileResult(name, name)], tmp_path / "r.html", identity_enhancer())
    assert ">?.wav<" in (tmp_path / "r.html").read_text()
    soundfile.write(os.fsencode(tmp_path / name), voice(0.1), 16_000)
    assert player.link(tmp_path / name, tmp_path / "r.html") == "./%FF.wav"


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl"])
def test_a_report_is_read_as_it_was_written(tmp_path, name):
    rows = [
        FileResult(
            "a", "b", "enhanced", "", 1.5, 16_000, 2, 3, "0.5", mean_uf=0.5, rtf=0.1, level_out_dbfs=-2.0
        ),
        FileResult('ü, "x"\n', "c", "failed", "broken"),
    ]
    with ReportWriter(tmp_path / name) as writer:
        for row in rows:
            writer.add(row)
    assert read_report(tmp_path / name) == rows


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_report_that_a_spreadsheet_saved_is_read(tmp_path, delimiter):
    """Whole numbers as floats, as pandas gives a column with an empty cell; blank rows; two, end to end."""
    header = ["file", "output", "status", "sample_rate", "mean_uf"]
    half = "0.5" if delimiter == "," else "0,5"
    rows = [header, ["a", "b", "enhanced", "16000.0", half], [""] * 5, header, ["c", "", "failed", "", ""]]
    text = "".join(delimiter.join(row) + "\n" for row in rows)
    (tmp_path / "r.csv").write_text("\ufeff" + text, encoding="utf-8")
    first, second = read_report(tmp_path / "r.csv")
    assert (first.file, first.sample_rate, first.mean_uf) == ("a", 16_000, 0.5)
    assert isinstance(first.sample_rate, int)
    assert (second.file, second.status, second.sample_rate) == ("c", "failed", None)


def test_a_row_with_very_many_warnings_is_read_again(tmp_path):
    row = FileResult("a", "b", "enhanced", warnings="odd; " * 100_000)
    with ReportWriter(tmp_path / "r.csv") as writer:
        writer.add(row)
    assert read_report(tmp_path / "r.csv") == [row]


def test_other_files_are_no_reports(tmp_path):
    (tmp_path / "r.csv").write_text("file,output,status,duration_s,later\na,b,enhanced,1,x\n")
    assert read_report(tmp_path / "r.csv")[0].duration_s == 1
    for text, message in (
        ("a,b\n1,2\n", "no column file"),
        ("file,output,status,rtf\na,b,c,d\n", "rtf of a: 'd' is no number"),
        ("file,output,status,channels\na,b,enhanced,1.5\n", "channels of a: a number of 1.5"),
        ("file,output,status\na,b,done\n", "a: a status of 'done'"),
    ):
        (tmp_path / "r.csv").write_text(text)
        with pytest.raises(SlimcleanError, match=f"not a report of slimclean: {message}"):
            read_report(tmp_path / "r.csv")
    (tmp_path / "r.jsonl").write_text("[1]\nno json")
    with pytest.raises(SlimcleanError, match="not a report of slimclean"):
        read_report(tmp_path / "r.jsonl")


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl"])
def test_a_crafted_report_puts_nothing_into_the_page(tmp_path, name):
    """Markup in any cell is text of the page, or the report is refused."""
    evil = "'><script>alert(1)</script><b x='"
    row = {"file": "a", "output": "b", "status": "enhanced", "uf": "0.5"}
    pages = 0
    for column in COLUMNS:
        if name == "r.jsonl":
            (tmp_path / name).write_text(json.dumps(row | {column: evil}) + "\n")
        else:
            write_rows(tmp_path / name, [row | {column: evil}])
        try:
            write_report(read_report(tmp_path / name), tmp_path / "r.html", identity_enhancer())
        except SlimcleanError as error:
            assert "not a report" in str(error)  # noqa: PT017
            continue
        pages += 1
        text = (tmp_path / "r.html").read_text()
        assert Elements(text).tags["script"] == 1, column
        assert "<b x" not in text
    assert pages == 5  # file, output, error, uf, warnings


@pytest.mark.parametrize(
    "line",
    ['{"file": "a", "output": "b", "status": []}', "7", "null",
     '{"file": "a", "output": "b", "status": "done"}',
     '{"file": "a", "output": "b", "status": "enhanced", "duration_s": {}}',
     '{"file": "a", "output": "b", "status": "enhanced", "duration_s": 1e300}', "[" * 100_000],
)  # fmt: skip
def test_lines_that_are_no_rows_are_one_message(tmp_path, line):
    (tmp_path / "r.jsonl").write_text(line + "\n")
    with pytest.raises(SlimcleanError, match=r"r\.jsonl: not a report of slimclean"):
        read_report(tmp_path / "r.jsonl")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
def test_a_page_on_a_private_recording_is_private(tmp_path):
    recordings = [tmp_path / "open.wav", tmp_path / "closed.wav"]
    for path, mode in zip(recordings, (0o644, 0o600), strict=True):
        soundfile.write(path, voice(0.1), 16_000)
        path.chmod(mode)
    pages = [tmp_path / "open.html", tmp_path / "all.html"]
    for page, files in zip(pages, (recordings[:1], recordings), strict=True):
        write_report([FileResult(str(f), str(f), "failed") for f in files], page, identity_enhancer())
    assert not pages[1].stat().st_mode & 0o077
    assert pages[0].stat().st_mode & 0o044 == recordings[0].stat().st_mode & 0o044


def test_json_has_no_infinity(tmp_path):
    inf, nan = float("inf"), float("nan")
    with ReportWriter(tmp_path / "r.jsonl") as writer:
        writer.add(FileResult("a", "b", "enhanced", si_sdr_db=inf, level_in_dbfs=-inf, rtf=nan, stoi=0.5))

    def refuse(constant):
        raise AssertionError(constant)

    row = json.loads((tmp_path / "r.jsonl").read_text(), parse_constant=refuse)
    assert (row["si_sdr_db"], row["level_in_dbfs"], row["rtf"], row["stoi"]) == (None, None, None, 0.5)
    (tmp_path / "r.jsonl").write_text('{"file": "a", "output": "b", "status": "enhanced", "rtf": Infinity}\n')
    assert read_report(tmp_path / "r.jsonl")[0].rtf is None


@pytest.mark.parametrize(("rate", "seconds"), [(16_000, 12.0), (44_100, 0.3), (10_000, 1.0), (96_000, 0.2)])
def test_an_excerpt_is_the_sound_of_that_time(tmp_path, rate, seconds):
    x = voice(seconds, rate)
    soundfile.write(tmp_path / "a.wav", np.stack([x, x], axis=1), rate)
    start = 2.0 if seconds > 10 else 0.0
    uri = player.excerpt(tmp_path / "a.wav", start)
    kind, data = uri.split(",")
    assert kind == "data:audio/mpeg;base64"
    y, mp3_rate = soundfile.read(io.BytesIO(base64.b64decode(data)))
    assert len(y) / mp3_rate == pytest.approx(min(seconds, 10), abs=0.15)
    assert np.sqrt(np.square(y).mean()) == pytest.approx(np.sqrt(np.square(x).mean()), rel=0.3)


def test_channels_that_cancel_are_heard_in_an_excerpt(tmp_path):
    x = voice(2.0)
    soundfile.write(tmp_path / "a.wav", np.stack([x, -x], 1), 16_000)
    mp3 = base64.b64decode(player.excerpt(tmp_path / "a.wav", 0.0).partition(",")[2])
    assert np.abs(soundfile.read(io.BytesIO(mp3))[0]).max() > 0.3


def test_what_holds_no_sound_has_a_section_without_a_player(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 16_000)
    (tmp_path / "page").mkdir()
    told = []
    one = result(tmp_path / "a.wav", tmp_path / "b.wav", duration_s=0.0)
    soundfile.write(tmp_path / "b.wav", np.zeros(0), 16_000)
    write_report([one], tmp_path / "page" / "r.html", identity_enhancer(), told.append)
    assert told == []
    assert "holds no sound" in (tmp_path / "page" / "r.html").read_text()


def test_the_excerpt_is_where_the_sound_is():
    dbfs = np.full(1000, -90.0)
    dbfs[600:700] = -20
    assert player.most_audible_s(dbfs, 0.1) == pytest.approx(60)
    assert player.most_audible_s(dbfs[:50], 0.1) == 0
    assert (
        600 <= player.most_audible_s(dbfs, 33.0) / 33 < 700
    )  # of nine hours, a column is longer than an excerpt


def test_links_stay_in_the_pages_folder(tmp_path):
    page = tmp_path / "p" / "r.html"
    (tmp_path / "p" / "s").mkdir(parents=True)
    for path in ("p/s/x#?%:.wav", "p/x.aiff", "x.wav"):
        soundfile.write(tmp_path / path, voice(0.1), 16_000)
    assert player.link(tmp_path / "p" / "s" / "x#?%:.wav", page) == "./s/x%23%3F%25%3A.wav"
    assert player.link(tmp_path / "p" / "x.aiff", page) is None
    assert player.link(tmp_path / "x.wav", page) is None


@pytest.mark.parametrize(
    ("form", "subtype", "plays"),
    [("WAV", "PCM_16", True), ("WAV", "FLOAT", True), ("WAV", "ULAW", True), ("WAVEX", "PCM_24", True),
     ("RF64", "PCM_16", True), ("OGG", "VORBIS", True), ("FLAC", "PCM_24", True), ("WAV", "DOUBLE", False),
     ("WAV", "IMA_ADPCM", False), ("WAV", "MS_ADPCM", False), ("WAV", "GSM610", False),
     ("AIFF", "PCM_16", False), ("W64", "PCM_16", False)],
)  # fmt: skip
def test_what_browsers_cannot_play_is_embedded_whatever_its_name(tmp_path, form, subtype, plays):
    soundfile.write(tmp_path / "a.wav", voice(0.2), 16_000, subtype, format=form)
    assert player.link(tmp_path / "a.wav", tmp_path / "r.html") == ("./a.wav" if plays else None)


@pytest.mark.parametrize(("codec", "plays"), [("aac", True), ("alac", False), ("ac3", False)])
def test_of_mp4_the_codec_decides(tmp_path, codec, plays):
    make_film(tmp_path / "a.mp4", codec, voice(0.5, 48_000)[None], picture=False)
    (tmp_path / "a.mp4").rename(tmp_path / "a.m4a")
    assert player.link(tmp_path / "a.m4a", tmp_path / "r.html") == ("./a.m4a" if plays else None)


@pytest.mark.parametrize("width", [1, 2, 7])
def test_thumbnails_are_png(width):
    pixels = np.arange(3 * width).reshape(3, width) % 16
    data = png.encode(pixels)
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert data.endswith(b"IEND\xaeB`\x82")
    start = data.index(b"IDAT")
    rows = np.frombuffer(zlib.decompress(data[start + 4 : -16]), np.uint8).reshape(3, -1)[:, 1:]
    unpacked = np.stack([rows >> 4, rows & 15], axis=2).reshape(3, -1)[:, :width]
    np.testing.assert_array_equal(unpacked, pixels)


def test_the_commands_write_pages(tmp_path, small, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint.save(tmp_path / "s.safetensors", SMALL, small.state_dict(), {"licence": "CC0-1.0", "scores": []})
    soundfile.write("a.wav", voice(0.5), 16_000)
    run = CliRunner().invoke
    # As floats, the file holds to the bit what the run saw.
    arguments = ["a.wav", "-m", "s.safetensors", "--subtype", "float", "--report", "r.csv", "--html", "r.html"]
    assert run(app, ["enhance", *arguments]).exit_code == 0
    assert run(app, ["report", "r.csv", "-o", "again.html", "-m", "s.safetensors"]).exit_code == 0
    pages = [re.sub(r" data-value='[\d.]*'|[\d.]+x", "", Path(p).read_text()) for p in ("r.html", "again.html")]
    assert len({page.partition("<h2>")[2] for page in pages}) == 1
    assert run(app, ["enhance", *arguments[:-1], "page.txt"]).exit_code == 2
    assert run(app, ["report", "absent.csv", "-o", "r.html"]).exit_code == 1
    Path("a-enhanced.wav").unlink()
    done = run(app, ["report", "r.csv", "-o", "r.html", "-m", "s.safetensors"])
    assert (done.exit_code, "no such file" in done.stderr) == (1, True)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to open the page in")
def test_a_browser_sorts_the_table_and_plays_the_sound(tmp_path, results):
    """Two clicks on a header, and every player is asked for the length of its sound, without complaints."""
    page = tmp_path / "page" / "report.html"
    write_report(results, page, identity_enhancer())
    check = """<script>
    const rows = () => [...document.querySelectorAll("tbody tr")].map(r => r.cells[2].textContent).join("|");
    const button = document.querySelectorAll("th button")[2], seen = [];
    for (let k = 0; k < 2; k++) { button.click(); seen.push(rows()); }
    const result = document.body.appendChild(document.createElement("pre"));
    result.id = "result";
    const players = [...document.querySelectorAll("audio")], images = [...document.images];
    Promise.all(players.map(p => new Promise(done => {
      p.onloadedmetadata = () => done(p.duration.toFixed(1)); p.onerror = () => done("error");
      p.preload = "metadata"; p.load(); })))
      .then(all => { result.textContent = JSON.stringify([...seen, all,
        images.length, images.every(i => i.naturalWidth > 0),
        document.querySelector("th[aria-sort]").ariaSort]); });
    </script></body>"""
    page.write_text(page.read_text().replace("</body>", check))
    found, log = opened(page)
    assert found == (
        '["0.5|2.0|10.0|","10.0|2.0|0.5|",["0.5","0.5","0.5","0.5","0.5","0.5"],6,true,"descending"]'
    )
    assert "CONSOLE" not in log


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to open the page in")
@pytest.mark.parametrize("printed", [False, True])
def test_the_page_is_no_wider_than_its_window_and_on_paper_neither_is_its_table(tmp_path, printed):
    page = tmp_path / "r.html"
    write_report([full_row(tmp_path / f"{'x' * 200}.wav")], page, identity_enhancer())
    text = page.read_text().replace("@media print", "@media all") if printed else page.read_text()
    measure = (
        "[document.documentElement.scrollWidth, document.querySelector('.scroll').scrollWidth, innerWidth]"
    )
    script = "<pre id='result'></pre><script>document.querySelector('#result').textContent = JSON.stringify("
    page.write_text(text.replace("</body>", f"{script}{measure})</script></body>"))
    width, table, window = json.loads(opened(page, "--window-size=700,900")[0])
    assert width <= window
    assert (table > window) != printed


def opened(page, *options):
    """Return what a script writes into the element `result` of a page, and the browser's log."""
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={page.parent / 'profile'}",
        "--enable-logging=stderr", "--virtual-time-budget=5000", "--dump-dom", *options, page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    found = re.search(r"""<pre id=["']result["']>(.*?)</pre>""", done.stdout)
    assert found, done.stderr[-2000:]
    return found[1], done.stderr


def test_a_residual_is_what_was_removed_not_what_is_left(tmp_path, weights):
    """As the run saw it, from its report, and where only the enhancer knows."""
    take, out, rows, page = (tmp_path / name for name in ("a.wav", "out.wav", "r.csv", "p.html"))
    soundfile.write(take, voice(0.5), 16_000)
    done = run("enhance", take, "-o", out, "--residual", "-m", weights, "--report", rows, "--html", page)
    assert done.exit_code == 0, done.stderr
    pages = [page.read_text(encoding="utf-8")]
    assert run("report", rows, "-o", page, "-m", weights).exit_code == 0
    pages.append(page.read_text(encoding="utf-8"))
    write_report([result(take, out, status="skipped")], page, identity_enhancer(residual=True))
    pages.append(page.read_text(encoding="utf-8"))
    for text in pages:
        assert re.findall("<div class='name'>([a-z]+)<br>", text) == ["before", "removed"]
        assert "level removed" not in text
    (row,) = read_report(rows)
    change = next(column for column in TABLE if column.header.startswith("level change"))
    assert row.is_residual
    assert change.value(row) is None
    kept = replace(row, noise_reduction_db=1.0)
    assert (kept.is_residual, change.value(kept)) == (False, row.level_out_dbfs - row.level_in_dbfs)


def test_what_rounds_to_nothing_has_no_sign(tmp_path):
    """In the table and above spectrograms of recordings that hardly change."""
    rows = [full_row(tmp_path / "a.wav", level_in_dbfs=-20.0, level_out_dbfs=-20.01, noise_reduction_db=-0.001)]
    write_report(rows, tmp_path / "p.html", identity_enhancer())
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert text.count(">0.0</td>") == 2
    assert ">-0.0" not in text
    seen = spectrogram([voice(1.0)[None]], 16_000)
    louder = replace(seen, power=seen.power * 1.001)
    assert removed(Comparison(seen, louder, np.zeros(0))) == "median 0.0 dB, 95 % of the time below 0.0 dB"
