"""The page for one recording: complete, offline, and without a gap where it switches, in a browser."""

from __future__ import annotations

import base64
import dataclasses
import http.server
import io
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
import soundfile
from conftest import identity_enhancer, run, voice

from slimclean.cli.compare import has_screen
from slimclean.errors import AudioError, SlimcleanError, UsageError
from slimclean.show import compare
from slimclean.show.compare import write_comparison
from slimclean.show.stretch import Stretch, read_stretch

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
EVIL = "a <img src=x onerror=alert(1)> $title ${data} & 'q' \"r\".wav"


def data_of(page):
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text())[1]
    )


def sound_of(page, side):
    return soundfile.read(io.BytesIO(base64.b64decode(data_of(page)[side]["sound"])))


def test_the_sound_of_both_sides_is_in_the_page(tmp_path):
    before = Stretch(np.stack([voice(2, 48_000), voice(2, 48_000, 1)]), 48_000)
    after = Stretch(0.25 * before.waveform, 48_000)
    write_comparison(tmp_path / "p.html", "take.wav", before, after)
    for side, x in (("before", before.waveform), ("after", after.waveform)):
        y, rate = sound_of(tmp_path / "p.html", side)
        assert rate == 48_000
        np.testing.assert_allclose(y.T, x, atol=1 / 32768)
    gains = [data_of(tmp_path / "p.html")[side]["matched_gain"] for side in ("before", "after")]
    assert gains == pytest.approx([0.25, 1], rel=0.01)


def test_levels_of_silence_are_drawn_from_the_bottom_up(tmp_path):
    silence = Stretch(np.zeros((1, 16_000), np.float32), 16_000)
    write_comparison(tmp_path / "p.html", "take.wav", silence, silence)
    minus = "\N{MINUS SIGN}"
    assert f"{minus}90 to {minus}80 dBFS" in (tmp_path / "p.html").read_text()


def test_a_change_that_rounds_to_nothing_has_no_minus(tmp_path):
    before = Stretch(voice(1.0)[None], 16_000)
    write_comparison(
        tmp_path / "p.html", "take.wav", before, Stretch(before.waveform * np.float32(0.9999), 16_000)
    )
    text = (tmp_path / "p.html").read_text()
    assert ">+0.0 dB</td>" in text
    assert "\N{MINUS SIGN}0.0 dB" not in text


def test_silence_has_no_level_in_any_row(tmp_path):
    silence = Stretch(np.zeros((1, 16_000), np.float32), 16_000)
    write_comparison(tmp_path / "p.html", "take.wav", silence, silence)
    table = re.search(r"<tbody>(.*?)</tbody>", (tmp_path / "p.html").read_text(), re.DOTALL)[1]
    assert "Softest tenth" in table
    assert not re.findall(r">[^<]*\d[^<]*<", table)


def test_short_stretches_have_clocks_that_move(tmp_path):
    """The clock is rewritten in every frame: nothing that is read out at each change."""
    x = Stretch(voice(0.05)[None], 16_000)
    write_comparison(tmp_path / "p.html", "x", x, x)
    text = (tmp_path / "p.html").read_text()
    assert '<span id="clock">0:00.000 / 0:00.050</span>' in text
    assert data_of(tmp_path / "p.html")["decimals"] == 3
    assert "<span>0:00.025</span>" in text
    assert "<output" not in text
    assert "aria-live" not in text


def test_the_page_is_alone_and_escaped(tmp_path):
    title = f"{EVIL} <b> $x"
    write_comparison(tmp_path / "p.html", title, Stretch(voice(1)[None], 16_000), identity_enhancer())
    text = re.sub(r'base64,[^\']*|"sound": "[^"]*"', "", (tmp_path / "p.html").read_text())
    assert not re.findall(r"https?:|url\(|@import|fetch|src=\"", text)
    assert "<img src=x" not in text
    assert "&lt;b&gt; $x" in text
    assert text.count("<script") == 2
    assert text.count("alt='spectrogram") == 2
    assert "aria-label='UF over time'" in text
    assert [p.name for p in tmp_path.iterdir()] == ["p.html"]


def test_numbers_say_what_was_measured(tmp_path, monkeypatch):
    pytest.importorskip("av", reason="the meter needs PyAV")
    x = voice(3)[None]
    write_comparison(tmp_path / "p.html", "x", Stretch(x, 16_000), Stretch(x / 2, 16_000))
    text = (tmp_path / "p.html").read_text()
    row = re.search(r"Loudness \(integrated\)</th>(.*?)</tr>", text)[1].replace("\N{MINUS SIGN}", "-")
    before, after, change = map(float, re.findall(r"-[\d.]+", row))
    assert after - before == pytest.approx(-6, abs=0.2) == change
    monkeypatch.setitem(sys.modules, "av", None)
    write_comparison(tmp_path / "p.html", "x", Stretch(x, 16_000), Stretch(x / 2, 16_000))
    text = (tmp_path / "p.html").read_text()
    assert "LUFS</td>" not in text
    assert "needs PyAV" in text
    assert data_of(tmp_path / "p.html")["before"]["matched_gain"] == pytest.approx(0.5, rel=0.01)


def test_the_loudness_heeds_what_the_channels_are_for(tmp_path):
    """What sounds in the subwoofer's channel alone counts for nothing, here as in a report."""
    pytest.importorskip("av", reason="the meter needs PyAV")
    x = np.zeros((6, 48_000), np.float32)
    x[3] = voice(1, 48_000)
    soundfile.write(tmp_path / "a.flac", x.T, 48_000)
    stretch = read_stretch(tmp_path / "a.flac")
    assert stretch.channel_layout == "5.1"
    write_comparison(tmp_path / "p.html", "x", stretch, stretch)
    row = re.search(r"Loudness \(integrated\)</th>(.*?)</tr>", (tmp_path / "p.html").read_text())[1]
    assert not re.search(r"\d", row)
    x[:] = voice(1, 48_000)
    write_comparison(
        tmp_path / "p.html", "x", dataclasses.replace(stretch, waveform=x), identity_enhancer(1.0, dry=1.0)
    )
    row = re.search(r"Loudness \(integrated\)</th>(.*?)</tr>", (tmp_path / "p.html").read_text())[1]
    before, after, change = map(float, re.findall(r"-?\d+\.\d+", row))
    assert before == after
    assert change == 0


def test_loud_surround_silence_and_high_rates(tmp_path):
    x = np.repeat(4 * voice(1, 96_000)[None], 6, axis=0)
    write_comparison(tmp_path / "p.html", "x", Stretch(x, 96_000), Stretch(0 * x[:1], 96_000))
    y, rate = sound_of(tmp_path / "p.html", "before")
    assert (rate, y.ndim) == (48_000, 1)
    assert 0.97 < np.abs(y).max() <= 1
    text = (tmp_path / "p.html").read_text()
    assert "6.0 dB softer, since one goes over full scale" in text
    assert 'id="match" disabled' in text


def test_a_stretch(tmp_path):
    x = voice(5)
    soundfile.write(tmp_path / "a.wav", x, 16_000, subtype="FLOAT")
    found = read_stretch(tmp_path / "a.wav", 1.5, 2)
    np.testing.assert_array_equal(found.waveform[0], x[24_000:56_000])
    assert found.duration_s == 2
    with pytest.raises(UsageError, match=r"ends at 5\.0 s; give an earlier `start`"):
        read_stretch(tmp_path / "a.wav", 9)
    with pytest.raises(AudioError, match=r"b\.wav: no such file"):
        read_stretch(tmp_path / "b.wav")
    with pytest.raises(UsageError, match="not one recording"):
        write_comparison(tmp_path / "p.html", "x", found, Stretch(x[None], 16_000))
    with pytest.raises(UsageError, match=r"ends in \.html"):
        write_comparison(tmp_path / "p.wav", "x", found, found)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SlimcleanError, match="cannot write"):
        write_comparison(tmp_path / "file" / "p.html", "x", found, found)


def test_an_empty_recording_is_no_matter_of_where_to_begin(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 16_000)
    with pytest.raises(UsageError, match=r"a\.wav: holds no sound$"):
        read_stretch(tmp_path / "a.wav")


def test_the_command(tmp_path, weights, monkeypatch):
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", voice(1), 16_000)
    done = run("compare", "a.wav", "-m", weights)
    assert (done.exit_code, done.stdout) == (0, "a-compare.html\n")
    assert run("compare", "a.wav", "--enhanced", "a.wav", "-o", "b.html", "--start", "0.5").exit_code == 0
    assert data_of(tmp_path / "b.html")["duration_s"] == 0.5
    for wrong in (["absent.wav"], ["a.wav", "-o", "a.wav"], ["a.wav", "--enhanced", "absent.wav"]):
        refused = run("compare", *wrong, "-m", weights)
        assert refused.exit_code in (1, 2)
        assert len(refused.stderr.splitlines()) == 1
    assert not has_screen()


@pytest.mark.skipif(sys.platform == "darwin", reason="names are UTF-8 there")
def test_a_name_that_is_no_text(tmp_path, weights):
    name = os.fsdecode(b"caf\xe9.wav")
    soundfile.write(os.fsencode(tmp_path / name), voice(0.2), 16_000)
    command = [sys.executable, "-m", "slimclean", "compare", name, "-m", str(weights)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"caf?-compare.html\n", b"")


RENDERED = """<script>
loaded.then(async () => {
  const seen = {};
  const rate = data.sample_rate, context = new OfflineAudioContext(1, rate, rate);
  const parts = graph(context, state.buffers, "before", false, 0, 0.25, true);
  context.suspend(0.5).then(() => { turn(parts, "after", false, context.currentTime); context.resume(); });
  const sound = (await context.startRendering()).getChannelData(0);
  const wanted = SIDES.map(side => state.buffers[side].getChannelData(0));
  const error = (which, from, to) => {
    const x = wanted[which], late = Math.round(0.25 * rate);
    let most = 0;
    for (let k = Math.round(from * rate); k < Math.round(to * rate); k++)
      most = Math.max(most, Math.abs(sound[k] - x[(k + late) % x.length]));
    return most;
  };
  let least = 1;
  for (let k = Math.round(0.49 * rate); k < Math.round(0.52 * rate); k++) least = Math.min(least, sound[k]);
  seen.before = error(0, 0, 0.499);
  seen.after = error(1, 0.52, 1);
  seen.least = least;
  const pressed = () => document.querySelector(".sides [aria-pressed=true]").dataset.side;
  const heard = () => document.querySelector(".lane.heard").dataset.side;
  const press = key => document.body.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
  seen.sides = [pressed()];
  document.querySelector("[data-side=before]").click();
  seen.sides.push(pressed(), heard());
  press("x");
  seen.sides.push(pressed(), heard());
  seek(0.5);
  seen.clock = document.querySelector("#clock").textContent;
  press("ArrowLeft");
  press("m");
  seen.at = position();
  seen.matched = document.querySelector("#match").checked;
  seen.problem = document.querySelector("#problem").hidden;
  seen.images = [...document.images].every(image => image.naturalWidth > 0);
  document.querySelector("#play").click();
  const word = () => document.querySelector("#play .word").textContent;
  seen.playing = [word()];
  while (position() < 0.1) await new Promise(done => setTimeout(done, 5));
  document.querySelector("[data-side=before]").click();
  seen.playing.push(state.side);
  const from = position();
  await new Promise(done => setTimeout(done, 200));
  seen.went_on = (position() - from + 1) % 1;
  press(" ");
  seen.playing.push(word());
  await fetch("/seen", {method: "POST", body: JSON.stringify(seen)});
});
</script></body>"""


@pytest.fixture
def browse(tmp_path):
    """Opens a page of `tmp_path` in Chromium and returns what its script posts to /seen.

    A server, not virtual time: the browser decodes and plays in threads that know no virtual time.
    """
    seen = queue.Queue()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=tmp_path)

        def do_POST(self):
            seen.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    def open_page(name):
        with (
            http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server,
            open(tmp_path / "log", "wb") as log,
        ):
            threading.Thread(target=server.serve_forever, daemon=True).start()
            command = [
                CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
                f"--user-data-dir={tmp_path / 'profile'}", "--disable-sync",
                "--disable-background-networking", "--disable-component-update",
                "--autoplay-policy=no-user-gesture-required", "--enable-logging=stderr",
                f"http://127.0.0.1:{server.server_port}/{name}",
            ]  # fmt: skip
            browser = subprocess.Popen(command, stdout=log, stderr=log)
            try:
                return seen.get(timeout=60), (tmp_path / "log").read_text(errors="replace")
            finally:
                browser.terminate()
                browser.wait(timeout=20)
                server.shutdown()

    return open_page


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to open the page in")
def test_a_browser_switches_at_the_same_instant_and_without_a_gap(tmp_path, browse):
    """A constant of .5 before and .25 after, with a slope: where they meet, the sound stays between the two."""
    slope = np.linspace(0, 0.1, 16_000, dtype=np.float32)[None]
    page = tmp_path / "p.html"
    write_comparison(page, "x", Stretch(0.5 + slope, 16_000), Stretch(0.25 + slope, 16_000))
    page.write_text(page.read_text().replace("</body>", RENDERED))
    seen, log = browse("p.html")
    assert seen.pop("before") < 1e-4
    assert seen.pop("after") < 1e-4
    assert seen.pop("least") > 0.25
    assert 0.1 < seen.pop("went_on") < 0.9
    assert seen == {
        "sides": ["after", "before", "before", "after", "after"], "clock": "0:00.5 / 0:01.0", "at": 0,
        "matched": True, "problem": True, "images": True, "playing": ["Pause", "before", "Play"],
    }  # fmt: skip
    assert "CONSOLE" not in log


def test_the_parts_of_the_page_travel_with_the_package():
    for name in ("compare.html", "compare.css", "compare.js"):
        assert len(compare.asset(name)) > 1000
