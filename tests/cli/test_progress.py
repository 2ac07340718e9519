"""The bar on a terminal: it ends no run, whatever headers say of the length."""

from __future__ import annotations

import io

import pytest

from slimclean.cli.progress import ProgressBar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(monkeypatch, planned, steps):
    """Return what a terminal shows after these steps, in seconds."""
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    with ProgressBar(quiet=False) as progress:
        watch = progress.watch()
        if planned is not None:
            watch.planned(planned)
        for seconds in steps:
            watch.progressed(seconds)
        progress._bar.refresh()
        return terminal.getvalue().split("\r")[-1].strip()


@pytest.mark.parametrize(
    ("planned", "percentage", "count"),
    [(100.8, 100, "120/120"), (0.0, 100, "120/120"), (120.1, 100, "120/120"), (480.4, 25, "120/480")],
)
def test_headers_may_count_less_than_there_is(monkeypatch, planned, percentage, count):
    text = shown(monkeypatch, planned, [12.01] * 10)
    assert text.startswith(f"{percentage}% |")
    assert f"| {count} s of audio, " in text
    assert text.count(" s/s, ") == 1
    assert text.endswith(" left")


def test_where_nobody_knows_the_length_the_bar_counts(monkeypatch):
    text = shown(monkeypatch, None, [12.01] * 10)
    assert text.startswith("120 s of audio, ")
    assert text.endswith(" s/s")


def test_no_bar_where_it_is_quiet(monkeypatch):
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    with ProgressBar(quiet=True) as progress:
        watch = progress.watch()
        watch.planned(1.0)
        watch.progressed(5.0)
    assert terminal.getvalue() == ""
