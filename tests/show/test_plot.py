"""Pictures, and what they are drawn from: spectrograms, levels and the UF over time."""

from __future__ import annotations

import base64
import importlib
import importlib.util
import os
import pickle
import struct
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import SMALL, identity_enhancer, run, voice

from slimclean.batch.recording import enhance_file
from slimclean.batch.report import FileResult
from slimclean.batch.task import Task
from slimclean.batch.trace import Comparison
from slimclean.cli import reports
from slimclean.dsp.spectrogram import COLUMNS, for_pixels, reduce_columns, spectrogram
from slimclean.enhancer import Enhancer
from slimclean.errors import AudioError, MissingDependencyError, SlimcleanError
from slimclean.scoring.pairs import Score
from slimclean.show.comparison import compare, preview
from slimclean.show.page import SHOWN
from slimclean.show.plot import picture_names, plot_comparison, plot_results, plot_scores, require_matplotlib
from slimclean.show.title import families
from slimclean.show.view import thumbnail, top_db
from slimclean.show.view_maker import ViewMaker

needs_matplotlib = pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed"
)


def png_size(path):
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG")
    return struct.unpack(">II", data[16:24])


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_a_tone_stands_at_its_frequency_and_level(rate):
    x = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(2 * rate) / rate).astype(np.float32)[None]
    seen = spectrogram([x], rate)
    peak = seen.power.mean(axis=1).argmax() * rate / 2 / (len(seen.power) - 1)
    assert peak == pytest.approx(1000, abs=13)
    assert seen.level_db.max() == pytest.approx(-6.02, abs=0.3)
    assert np.median(seen.dbfs) == pytest.approx(-9.03, abs=0.05)
    assert seen.duration_s == 2
    assert seen.times_s[-1] == pytest.approx(2, abs=0.01)


def test_blocks_make_no_difference_and_columns_stay_bounded():
    x = np.random.default_rng(0).normal(size=(2, 20 * 8_000)).astype(np.float32) * 0.1
    x[:, : 8_000 * 10] *= 0.1
    whole = spectrogram([x], 8_000)
    pieces = spectrogram(np.array_split(x, 37, axis=1), 8_000)
    np.testing.assert_allclose(pieces.power, whole.power, rtol=1e-4, atol=1e-12)
    assert COLUMNS <= whole.power.shape[1] < 2 * COLUMNS
    assert whole.column_s * whole.power.shape[1] == pytest.approx(20, abs=whole.column_s)
    half = whole.power.shape[1] // 2
    assert whole.dbfs[half + 5 :].mean() - whole.dbfs[: half - 5].mean() == pytest.approx(20, abs=0.5)


def test_columns_are_merged_by_their_mean_and_stand_where_the_sound_is(monkeypatch):
    x = np.random.default_rng(0).normal(0, 0.01, (1, 16_000)).astype(np.float32)
    x[0, 5_000] = 1
    fine = spectrogram([x], 16_000)
    assert fine.times_s[fine.power.sum(0).argmax()] == pytest.approx(5_000 / 16_000, abs=0.0041)
    monkeypatch.setattr("slimclean.dsp.spectrogram.COLUMNS", 30)
    coarse = spectrogram([x], 16_000)
    assert coarse.column_s == 4 * fine.column_s
    whole = fine.power[:, : fine.power.shape[1] // 4 * 4]
    np.testing.assert_allclose(
        coarse.power[:, : whole.shape[1] // 4], whole.reshape(len(whole), -1, 4).mean(2), rtol=1e-4
    )


@pytest.mark.parametrize("samples", [0, 1, 63, 64, 200])
def test_short_recordings_have_a_spectrogram(samples):
    seen = spectrogram([np.zeros((1, samples), np.float32)], 8_000)
    assert seen.power.shape[1] >= 1
    assert (seen.dbfs < -110).all()


def test_reduced_columns_keep_their_mean():
    assert reduce_columns(np.arange(10.0), 20) is not None
    assert reduce_columns(np.arange(12.0), 3) == pytest.approx([1.5, 5.5, 9.5])
    assert reduce_columns(np.ones((2, 1001)), 7).shape == (2, 7)


@pytest.mark.parametrize(
    ("uf", "rate", "channels"), [("auto", 16_000, 1), ("auto", 44_100, 2), (0.3, 8_000, 1)]
)
def test_the_route_is_that_of_enhancing(small, uf, rate, channels):
    """Over a cut between chunks too."""
    x = np.stack([voice(19.0, rate, seed=c) for c in range(channels)])
    enhancer = identity_enhancer(uf, 0.5)
    ufs = enhancer.route(x, rate)
    np.testing.assert_array_equal(ufs, enhancer(x, rate).uf)
    assert len(ufs) == np.ceil(19 * SMALL.frame_rate_hz)
    silent = np.zeros((1, rate), np.float32)
    np.testing.assert_allclose(enhancer.route(silent, rate), enhancer(silent, rate).uf, rtol=1e-6)


def test_a_comparison_is_one_whether_the_output_exists_or_not(tmp_path, small):
    soundfile.write(tmp_path / "a.flac", voice(3.0, 8_000), 8_000)
    enhancer = Enhancer("auto", network=small)
    x = soundfile.read(tmp_path / "a.flac", dtype="float32")[0][None]
    out = np.concatenate([block for block, _ in enhancer.stream([x], 8_000)], axis=1)
    soundfile.write(tmp_path / "b.wav", out[0], 8_000, "FLOAT")
    now = preview(tmp_path / "a.flac", enhancer)
    then = compare(tmp_path / "a.flac", tmp_path / "b.wav", enhancer)
    np.testing.assert_array_equal(now.uf, then.uf)
    np.testing.assert_allclose(now.after.power, then.after.power, rtol=1e-4, atol=1e-9)
    assert now.before.power.shape == now.after.power.shape


def test_a_mono_form_is_compared_with_the_mean_of_channels(tmp_path):
    x = np.stack([voice(1.0), np.random.default_rng(0).normal(size=16_000) * 0.1], axis=1)
    soundfile.write(tmp_path / "a.wav", x, 16_000, "FLOAT")
    soundfile.write(tmp_path / "b.wav", x.mean(axis=1), 16_000, "FLOAT")
    enhancer = identity_enhancer("auto", 0.5)
    comparison = compare(tmp_path / "a.wav", tmp_path / "b.wav", enhancer)
    np.testing.assert_allclose(comparison.before.power, comparison.after.power, rtol=1e-4, atol=1e-12)
    np.testing.assert_array_equal(comparison.uf, enhancer(x.mean(axis=1).astype(np.float32), 16_000).uf)


def test_removed_is_the_fall_of_the_level(tmp_path):
    soundfile.write(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).normal(size=16_000), 16_000)
    soundfile.write(tmp_path / "b.wav", soundfile.read(tmp_path / "a.wav")[0] / 10, 16_000, "FLOAT")
    comparison = compare(tmp_path / "a.wav", tmp_path / "b.wav", identity_enhancer(0.5))
    assert np.nanmedian(comparison.removed_db) == pytest.approx(20, abs=0.1)
    assert comparison.mean_uf == 0.5
    with pytest.raises(AudioError, match="replaced in place"):
        compare(tmp_path / "a.wav", tmp_path / "a.wav", identity_enhancer(0.5))
    soundfile.write(tmp_path / "c.wav", np.zeros(32_000), 16_000)
    with pytest.raises(AudioError, match=r"1\.0 s and .*c\.wav 2\.0 s"):
        compare(tmp_path / "a.wav", tmp_path / "c.wav", identity_enhancer(0.5))


@needs_matplotlib
@pytest.mark.parametrize("residual", [False, True])
def test_a_picture_says_what_both_sides_are(tmp_path, monkeypatch, residual):
    figures = []
    monkeypatch.setattr("slimclean.show.plot.save", lambda figure, *_: figures.append(figure))
    seen = [spectrogram([x * voice(1.0)[None]], 16_000) for x in (np.float32(1), np.float32(0.1))]
    plot_comparison(Comparison(*seen, np.zeros(0), residual=residual), tmp_path / "a.png", Path("a.wav"))
    before, after, level, _ = figures[0].axes[:4]
    other = "removed" if residual else "after"
    assert [axis.get_title(loc="left") for axis in (before, after)] == ["before", other]
    legend = [text.get_text() for text in level.get_legend().get_texts()]
    assert legend == (["before", "removed"] if residual else ["before", "after", "removed"])
    assert level.get_title(loc="left").startswith("removed: ") != residual


@pytest.mark.parametrize("rate", [16_000, 48_000, 192_000])
def test_few_pixels_keep_the_level_of_a_tone_and_of_noise(rate):
    """Noise rises by the loudest of n bins against their mean, which is the n-th harmonic number."""
    rng = np.random.default_rng(0)
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(rate) / rate)
    seen = spectrogram([(tone + 0.01 * rng.normal(size=rate)).astype(np.float32)[None]], rate)
    few = for_pixels(seen.power, (100, 60))
    assert few.shape == (100, 60)
    assert 10 * np.log10(few[:, 5:-5].max(axis=0)) == pytest.approx(-6.02, abs=0.3)
    noise, bins = slice(len(few) // 4, None), -(-len(seen.power) // 100)
    rise = few[noise].mean() / seen.power[len(seen.power) // 4 :].mean()
    assert 1 <= rise < sum(1 / k for k in range(1, bins + 1))
    stripes = few[noise].mean(axis=1)
    assert stripes.max() < 2 * stripes.min()
    assert for_pixels(seen.power, (4000, 1000)) == pytest.approx(seen.power)


def preview_of(before, after=None, rate=16_000):
    """Return what is seen of two waveforms [T], or of one that stayed as it was."""
    both = (before, before if after is None else after)
    return Comparison(*(spectrogram([x.astype(np.float32)[None]], rate) for x in both), np.zeros(0))


def compared(before, after, rate, picture):
    """Draw two waveforms as before and after, and return the picture's pixels [H, W, 3]."""
    plot_comparison(preview_of(before, after, rate), picture, picture)
    return require_matplotlib().image.imread(picture)[:, :, :3]


@needs_matplotlib
@pytest.mark.parametrize("rate", [16_000, 96_000])
def test_a_tone_has_the_brightest_colour_in_the_picture(tmp_path, rate):
    tone = 0.5 * np.sin(2 * np.pi * 3210 * np.arange(rate) / rate)
    pixels = compared(tone, 0 * tone, rate, tmp_path / "p.png")
    brightest = require_matplotlib().colormaps["magma"](1.0)[:3]
    found = np.abs(pixels[60:300, 300:900] - brightest).max(axis=2) < 0.05
    assert found.any(axis=0).mean() > 0.95


@needs_matplotlib
def test_silence_is_dark_with_a_curve_at_the_bottom(tmp_path):
    silence = np.zeros(16_000)
    pixels = compared(silence, silence, 16_000, tmp_path / "p.png")
    assert pixels[65:295, 300:900].max() < 0.1
    blue = np.abs(pixels[640:770, 300:900] - [0, 0x72 / 255, 0xB2 / 255]).max(axis=2) < 0.3
    assert blue.any(axis=0).all()
    seen = spectrogram([silence.astype(np.float32)[None]], 16_000)
    image = base64.b64decode(thumbnail(seen, top_db(Comparison(seen, seen, np.zeros(0)))).split(",")[1])
    (tmp_path / "t.png").write_bytes(image)
    assert require_matplotlib().image.imread(tmp_path / "t.png").max(axis=(0, 1))[:3].max() < 0.1


@needs_matplotlib
@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_any_length_is_drawn_1200_pixels_wide(tmp_path, seconds):
    name = "a $b$ 50%.wav"
    soundfile.write(tmp_path / name, voice(seconds), 16_000)
    picture = tmp_path / "new" / "a.png"
    plot_comparison(preview(tmp_path / name, identity_enhancer()), picture, tmp_path / name)
    assert png_size(picture)[0] == 1200


@needs_matplotlib
def test_plot_takes_a_file_and_its_enhanced_form(tmp_path, weights):
    soundfile.write(tmp_path / "a.wav", voice(0.5), 16_000)
    done = run("plot", tmp_path / "a.wav", "-o", tmp_path / "a.png", "-m", weights)
    assert done.exit_code == 0, done.output
    done = run(
        "plot", tmp_path / "a.wav", "--enhanced", tmp_path / "b.wav", "-o", tmp_path / "b.png", "-m", weights
    )
    assert done.exit_code == 1
    assert "b.wav: no such file" in done.stderr
    assert png_size(tmp_path / "a.png")[0] == 1200
    done = run("plot", tmp_path / "a.wav", "-o", tmp_path / "a.xyz", "-m", weights)
    assert (done.exit_code, "no picture ends in .xyz" in done.stderr) == (2, True)
    assert (
        run("plot", tmp_path / "a.wav", "-o", tmp_path / "a.pgf", "-m", weights).exit_code == 2
    )  # wants LaTeX
    with pytest.raises(SlimcleanError, match="cannot write"):
        plot_scores([], ["stoi"], tmp_path / "a.xyz")


@needs_matplotlib
def test_enhance_draws_a_picture_per_recording(tmp_path, weights):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for name in ("a.wav", "sub/b.flac"):
        soundfile.write(tmp_path / "in" / name, voice(0.3), 16_000)
    (tmp_path / "in" / "c.wav").write_bytes(b"no audio")
    arguments = [
        "enhance",
        tmp_path / "in",
        "-o",
        tmp_path / "out",
        "--plots",
        tmp_path / "pictures",
        "-m",
        weights,
    ]
    done = run(*arguments)
    assert done.exit_code == 1
    found = sorted(p.relative_to(tmp_path / "pictures") for p in (tmp_path / "pictures").rglob("*.*"))
    assert [p.as_posix() for p in found] == ["a.png", "sub/b.png"]


@needs_matplotlib
def test_a_picture_that_cannot_be_written_fails_the_run_and_no_recording(tmp_path, weights):
    soundfile.write(tmp_path / "a.wav", voice(0.3), 16_000)
    (tmp_path / "p" / "a.png").mkdir(parents=True)
    done = run("enhance", tmp_path / "a.wav", "-m", weights, "--plots", tmp_path / "p")
    assert done.exit_code == 1
    assert done.stderr.count("no picture: ") == 1
    assert "1 enhanced" in done.stderr
    assert (tmp_path / "a-enhanced.wav").exists()


@needs_matplotlib
def test_nobody_misses_pictures_of_recordings_that_were_not_begun(tmp_path, weights):
    (tmp_path / "in").mkdir()
    for name in "acd":
        soundfile.write(tmp_path / f"in/{name}.wav", voice(0.3), 16_000)
    (tmp_path / "in/b.wav").write_bytes(b"no audio")
    arguments = ["enhance", tmp_path / "in", "-o", tmp_path / "out", "-m", weights, "--jobs", 1, "--fail-fast"]
    report, page = tmp_path / "r.csv", tmp_path / "r.html"
    done = run(*arguments, "--html", page, "--plots", tmp_path / "p", "--report", report)
    assert done.exit_code == 1
    assert "no picture" not in done.stderr
    assert "1 enhanced, 1 failed, 2 not begun, " in done.stderr
    text = page.read_text()
    assert text.count("<section") == 1
    assert "<li><b>2</b>not begun</li>" in text
    assert "more are in the table only" not in text
    assert [path.name for path in (tmp_path / "p").iterdir()] == ["a.png"]
    again = run("report", report, "-o", page, "-m", weights)
    assert (again.exit_code, page.read_text().count("<section")) == (0, 1)


@needs_matplotlib
def test_what_an_earlier_run_made_is_drawn_without_its_uf(tmp_path, weights):
    soundfile.write(tmp_path / "a.wav", voice(0.3), 16_000)
    run("enhance", tmp_path / "a.wav", "-m", weights)
    done = run("enhance", tmp_path / "a.wav", "-m", weights, "--plots", tmp_path / "p")
    assert (done.exit_code, "1 skipped" in done.stderr) == (0, True)
    assert png_size(tmp_path / "p" / "a.png")[0] == 1200
    told = []
    strange = FileResult(str(tmp_path / "a.wav"), "b.wav", "enhanced", uf="much")
    plot_results([strange], {strange.file: tmp_path / "p" / "b.png"}, identity_enhancer(), told.append)
    assert "'much' is no UF" in told[0]
    assert not (tmp_path / "p" / "b.png").exists()


@pytest.fixture
def no_second_look(monkeypatch):
    """Decoding for a picture, and asking the router again, are failures."""

    def refuse(*_, **__):
        raise AssertionError("computed again")

    monkeypatch.setattr("slimclean.show.comparison.compare", refuse)
    monkeypatch.setattr("slimclean.enhancer.Enhancer.route_stream", refuse)


@needs_matplotlib
@pytest.mark.usefixtures("no_second_look")
def test_a_run_draws_what_it_saw(tmp_path, weights):
    """In place too, where nothing is left to be compared afterwards."""
    soundfile.write(tmp_path / "a.wav", voice(0.5), 16_000)
    page = tmp_path / "p.html"
    done = run(
        "enhance", tmp_path / "a.wav", "--in-place", "-m", weights, "--plots", tmp_path / "p", "--html", page
    )
    assert (done.exit_code, "no picture" in done.stderr) == (0, False), done.stderr
    assert png_size(tmp_path / "p" / "a.png")[0] == 1200
    text = page.read_text()
    assert text.count("<img") == 2
    assert "was replaced in place" in text
    assert text.count("<audio") == 1


@needs_matplotlib
def test_what_an_earlier_run_replaced_is_no_missing_picture(tmp_path, weights):
    """Nothing is left to be compared, and the picture of that run is there."""
    soundfile.write(tmp_path / "a.wav", voice(0.5), 16_000)
    page, more = tmp_path / "p.html", ["-m", weights, "--plots", tmp_path / "p", "--report", tmp_path / "r.csv"]
    for status in ("1 enhanced", "1 skipped"):
        done = run("enhance", tmp_path / "a.wav", "--in-place", "--html", page, *more)
        assert (done.exit_code, "no picture" in done.stderr) == (0, False), done.stderr
        assert status in done.stderr
    assert "was replaced in place, so there is nothing to compare it with" in page.read_text()
    assert (tmp_path / "p" / "a.png").exists()


def test_what_was_seen_is_what_is_in_the_files(tmp_path):
    """Spectrograms and UFs of the run against those of its decoded files, over a cut between chunks."""
    x = np.stack([voice(19.0, 44_100, seed=c) for c in range(2)], axis=1)
    soundfile.write(tmp_path / "a.wav", x, 44_100, "FLOAT")
    seen = []
    enhancer = identity_enhancer("auto", 0.5)
    task = Task(tmp_path / "a.wav", tmp_path / "b.wav")
    result = enhance_file(
        task, enhancer, look=lambda result, comparison: seen.append(comparison) or result.status
    )
    assert (result.status, result.view) == ("enhanced", "enhanced")
    then = compare(tmp_path / "a.wav", tmp_path / "b.wav", enhancer)
    np.testing.assert_array_equal(seen[0].uf, then.uf)
    assert seen[0].mean_uf == pytest.approx(result.mean_uf)
    for side in ("before", "after"):
        one, two = getattr(seen[0], side), getattr(then, side)
        np.testing.assert_allclose(one.power, two.power, rtol=1e-4, atol=1e-9)
        assert (one.duration_s, one.column_s) == (two.duration_s, two.column_s)


def test_pictures_have_names_of_their_own(tmp_path):
    one, two = tmp_path / "x", tmp_path / "y"
    files = [str(one / "a.wav"), str(one / "a.flac"), str(one / "s" / "a.wav")]
    assert [str(n) for n in picture_names(files, [one])] == ["a.png", "a.flac.png", "s/a.png"]
    files = [str(one / "a.wav"), str(two / "a.wav"), str(tmp_path / "a.wav")]
    names = picture_names(files, [one, two])
    assert [n.as_posix() for n in names] == ["x/a.png", "y/a.png", "a.png"]
    assert len(set(picture_names(["p/a.wav", "q/a.wav", "r/a.wav"], []))) == 3


@needs_matplotlib
def test_distributions_are_drawn(tmp_path):
    rng = np.random.default_rng(0)
    values = [{"stoi": 0.9, "snr_db": float(rng.normal()), "lsd_db": None} for _ in range(5)]
    scores = [Score(str(k), "scored", values=v) for k, v in enumerate(values)]
    scores[0].values["snr_db"] = float("inf")
    scores[1].before = {"stoi": 0.8}
    plot_scores(scores, ["stoi", "snr_db", "lsd_db", "csig"], tmp_path / "s.png")
    assert png_size(tmp_path / "s.png")[0] == 1200


def drawn(monkeypatch):
    """Return a list that takes what is drawn from here on, as figures; nothing is written."""
    figures = []
    monkeypatch.setattr("slimclean.show.plot.save", lambda figure, *_: figures.append(figure))
    return figures


@needs_matplotlib
def test_groups_have_rows_of_their_own(monkeypatch):
    figures = drawn(monkeypatch)
    scores = [
        Score(f"{g}{k}", "scored", values={"stoi": 0.9}, group=g) for g in ("a$", "b\udcff") for k in range(3)
    ]
    scores[0].values["stoi"] = None
    plot_scores(scores, ["stoi", "snr_db"], Path("s.png"))
    axis = figures[0].axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == [r"a\$ after", "b? after"]
    points = [line for line in axis.lines if line.get_marker() == "o"]
    assert [len(line.get_xdata()) for line in points] == [2, 3]
    assert axis.get_title("left") == "known for 5 of 6"
    assert figures[0].get_suptitle().startswith("6 recordings,")
    scores[0].group = None
    plot_scores(scores[:1], ["stoi"], Path("s.png"))
    assert figures[1].get_suptitle().startswith("1 recording,")
    assert [label.get_text() for label in figures[1].axes[0].get_yticklabels()] == ["after"]


@needs_matplotlib
@pytest.mark.parametrize("name", ["begin $x$ " + "x" * 150 + " last.wav", "录音 采访 第一集" * 12 + ".wav"])
def test_a_long_name_is_shortened_in_the_middle(monkeypatch, name):
    figures = drawn(monkeypatch)
    plot_comparison(preview_of(voice(0.1)), Path("p.png"), Path(name))
    title = figures[0].get_suptitle().replace(r"\$", "$")
    assert 20 < len(title) < len(name)
    head, tail = title.split("\N{HORIZONTAL ELLIPSIS}")
    assert name.startswith(head)
    assert name.endswith(tail)
    assert tail.endswith(".wav")


@needs_matplotlib
def test_fonts_for_other_scripts_are_those_that_are_installed(monkeypatch):
    """Where none is, the usual ones."""
    manager = importlib.import_module("matplotlib.font_manager").fontManager
    usual = require_matplotlib().rcParams["font.family"]
    monkeypatch.setattr(manager, "ttflist", manager.ttflist[:1])
    assert families() == usual
    for name in ("SimHei", "Noto Sans CJK SC", "Comic Sans"):
        monkeypatch.setattr(manager, "ttflist", [*manager.ttflist, replace(manager.ttflist[0], name=name)])
    assert families() == [*usual, "Noto Sans CJK SC", "SimHei"]


def test_without_matplotlib_the_remedy_is_named(monkeypatch, tmp_path, weights):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'slimclean\[plot\]'"):
        require_matplotlib()
    soundfile.write(tmp_path / "a.wav", voice(0.1), 16_000)
    done = run("enhance", tmp_path / "a.wav", "--plots", tmp_path / "p", "-m", weights)
    assert done.exit_code == 1
    assert not (tmp_path / "a-enhanced.wav").exists()  # said before any work


def test_what_travels_to_a_worker_is_small():
    """However many recordings there are, each goes with its own picture alone."""
    tasks = [Task(Path(f"in/{k}.wav"), Path(f"out/{k}.wav")) for k in range(1000)]
    drawn = {os.path.abspath(task.source): Path(f"p/{k}.png") for k, task in enumerate(tasks)}  # noqa: PTH100
    of = reports.look(tasks, drawn, Path("page.html"))
    assert len(pickle.dumps(of(tasks[0].source))) < 500
    assert of(tasks[0].source) == ViewMaker(Path("p/0.png"), page=True)
    assert of(tasks[SHOWN].source) == ViewMaker(Path(f"p/{SHOWN}.png"), page=False)
    assert reports.look(tasks, {}, Path("page.html"))(tasks[SHOWN].source) is None
    assert reports.look(tasks, {}, None)(tasks[0].source) is None
    tasks[0] = replace(tasks[0], problem="may not be read")
    assert reports.look(tasks, {}, Path("page.html"))(tasks[SHOWN].source) == ViewMaker(None, page=True)
