"""Rows as text for people."""

from __future__ import annotations

from slimclean.scoring.pairs import Score
from slimclean.scoring.tables import aligned, table


def test_what_rounds_to_nothing_has_no_sign():
    rows = [{"a": -0.0004, "b": -0.0, "c": -1234.4, "d": float("-inf"), "e": "-0.0"}]
    assert table(rows).split() == ["a", "b", "c", "d", "e", "0.000", "0.000", "-1234", "-inf", "-0.0"]
    assert Score("x", values={"snr_db": -1e-9}).row(["snr_db"])["snr_db"] == "0.000000"


def test_columns_begin_or_end_below_each_other():
    assert aligned([("a", "bb"), ("ccc", "")]) == "a    bb\nccc"
    assert aligned([("a", "bb"), ("ccc", "d")], str.rjust) == "  a  bb\nccc   d"
