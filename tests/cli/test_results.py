"""What a command writes besides recordings."""

from __future__ import annotations

import pytest

from slimclean.cli.results import check_file
from slimclean.errors import SlimcleanError


def test_what_cannot_be_written_is_known_before(tmp_path):
    check_file(tmp_path / "new" / "a.csv")
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "new", tmp_path / "file" / "a.csv", tmp_path / ("n" * 300)):
        with pytest.raises(SlimcleanError, match="cannot write"):
            check_file(path)
    assert (tmp_path / "file").read_text() == "x"
