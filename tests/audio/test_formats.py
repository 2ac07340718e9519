"""The table of containers: each entry is one that somebody can read, and write or replace."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from slimclean.audio.containers import BY_EXTENSION, CONTAINERS, WRITABLE, container_of
from slimclean.audio.formats import OutputForm, output_suffix


def test_no_extension_stands_for_two_containers():
    assert len(BY_EXTENSION) == sum(len(container.extensions) for container in CONTAINERS)
    assert all(name.startswith(".") and name == name.lower() for name in BY_EXTENSION)


@pytest.mark.parametrize("container", CONTAINERS, ids=lambda container: container.extensions[0])
def test_somebody_reads_it_and_writes_it_or_what_it_becomes(container):
    if container.sndfile is not None:
        assert container.sndfile in soundfile.available_formats()
        assert container.subtype is None or soundfile.check_format(container.sndfile, container.subtype)
    if container.demuxers:
        av = pytest.importorskip("av")
        assert any(name in av.formats_available for name in container.demuxers)
    assert container.sndfile or container.demuxers
    for extension in container.extensions:
        assert output_suffix(Path(f"a{extension}"), OutputForm()) in WRITABLE


def test_a_container_is_known_by_its_beginning():
    assert container_of(b"\0\0\0\x20ftypM4A \0\0\0\0") == BY_EXTENSION[".mp4"]
    assert container_of(b"\x1a\x45\xdf\xa3" + bytes(12)) == BY_EXTENSION[".mkv"]
    assert container_of(b"RIFF\0\0\0\0WAVEfmt ") == BY_EXTENSION[".wav"]
    assert container_of(b"") is None
    assert container_of(b"Dear diary, what a day this was") is None
