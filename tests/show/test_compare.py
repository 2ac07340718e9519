"""The page for one recording: complete, offline, and without a gap where it switches, in a browser."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from conftest import identity_enhancer, run, voice

from slimclean.cli.compare import has_screen
from slimclean.errors import AudioError, SlimcleanError, UsageError
from slimclean.show import compare
from slimclean.show.compare import Stretch, read_stretch, write_comparison

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


def test_the_page_is_alone_and_escaped(tmp_path):
    write_comparison(
        tmp_path / "p.html", EVIL, Stretch(voice(1)[None], 16_000), identity_enhancer(), "note <b> $x"
    )
    text = re.sub(r'base64,[^\']*|"sound": "[^"]*"', "", (tmp_path / "p.html").read_text())
    assert not re.findall(r"https?:|url\(|@import|fetch|src=\"", text)
    assert "<img src=x" not in text
    assert "note &lt;b&gt; $x" in text
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
  const result = document.body.appendChild(document.createElement("pre"));
  result.id = "result";
  result.textContent = JSON.stringify(seen);
});
</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to open the page in")
def test_a_browser_switches_at_the_same_instant_and_without_a_gap(tmp_path):
    """A constant of .5 before and .25 after, with a slope: where they meet, the sound stays between the two."""
    slope = np.linspace(0, 0.1, 16_000, dtype=np.float32)[None]
    page = tmp_path / "p.html"
    write_comparison(page, "x", Stretch(0.5 + slope, 16_000), Stretch(0.25 + slope, 16_000))
    page.write_text(page.read_text().replace("</body>", RENDERED))
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
        "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--enable-logging=stderr", "--virtual-time-budget=5000", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    found = re.search(r'<pre id="result">(.*?)</pre>', done.stdout)
    assert found, done.stderr[-2000:]
    seen = json.loads(found[1])
    assert seen.pop("before") < 1e-4
    assert seen.pop("after") < 1e-4
    assert seen.pop("least") > 0.25
    assert seen == {
        "sides": ["after", "before", "before", "after", "after"], "clock": "0:00.5 / 0:01.0", "at": 0,
        "matched": True, "problem": True, "images": True,
    }  # fmt: skip
    assert "CONSOLE" not in done.stderr


def test_the_parts_of_the_page_travel_with_the_package():
    for name in ("compare.html", "compare.css", "compare.js"):
        assert len(compare.asset(name)) > 1000
