"""Ogg (RFC 3533): the links of a chain, pages that are lost, an end that is missing or wrong."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from slimclean.audio.structure.ogg_packets import TAIL_BYTES, flac_samples, opus_samples, vorbis_samples
from slimclean.audio.structure.ogg_pages import (
    CONTINUED,
    FIRST,
    LAST,
    NoPage,
    Page,
    packet_heads,
    page_checksum,
    pages,
)
from slimclean.audio.structure.view import Part, Peek, Piece, Structure, check_parts
from slimclean.errors import AudioError

_CODECS = {b"\x01vorbis": "vorbis", b"OpusHead": "opus", b"\x7fFLAC": "flac"}
_MOST_BAD = 100
_REMEDY = "; what is there can be had with ffmpeg -i IN -c copy OUT"


@dataclass
class _Link:
    """One logical stream of sound in a chain, its pages merged to stretches of the file."""

    serial: int
    codec: str
    rate: int
    pieces: list[range] = field(default_factory=list)
    packets: list[range] = field(default_factory=list)
    """The bodies of the pages."""
    last: Page | None = None
    granule: int = 0
    """Of the last page but one that has any."""
    pages: int = 0
    ident: Page | None = None
    setup: Page | None = None
    first: Page | None = None
    """The first page of the stream, the last one of headers, and the first one of sound."""
    trimmed: bool = False
    """Whether a page before the last one counts less than it holds."""

    def add(self, page: Page) -> None:
        if self.last is not None and self.last.granule >= 0:
            self.granule = self.last.granule
        if self.first is None:
            self.ident = self.ident or page
            self.setup, self.first = (self.last, page) if page.granule not in (0, -1) else (self.setup, None)
        _append(self.pieces, page.start, page.stop)
        _append(self.packets, page.body, page.stop)
        self.last = page
        self.pages += 1


@dataclass
class _Walk:
    """What a walk over all pages found: the links of sound, and what is odd."""

    links: list[_Link] = field(default_factory=list)
    groups: list[list[str]] = field(default_factory=list)
    """The codecs of the streams that begin together."""
    junk: int = 0
    """Bytes that are no pages."""
    bad: int = 0
    """Pages whose checksum is wrong."""
    cut: bool = False
    """Whether the file ends within a page."""


def scan(peek: Peek) -> Structure | None:
    """Return the links of Vorbis, Opus or FLAC in an Ogg file; None where there are none.

    Raises `AudioError` where pages are lost or cut off.
    """
    found = _walk(peek)
    if not found.groups:
        raise AudioError("not a readable recording (no whole Ogg pages)")
    links = [link for link in found.links if link.pages > 1]
    timeless = all(max(link.granule, link.last.granule if link.last else 0) <= 0 for link in links)
    if not links or (timeless and not (found.bad or found.cut)):
        return None
    sounds = [[codec for codec in group if codec in _CODECS.values()] for group in found.groups]
    if any("theora" in group for group in found.groups):
        return None  # a film: PyAV keeps its clock
    if found.bad:
        raise AudioError(f"damaged: pages are missing, the checksum of one is wrong{_REMEDY}")
    if strange := [group for group, sound in zip(found.groups, sounds, strict=True) if not sound]:
        raise AudioError(f"a part of the chain is in {strange[0][0]}, others are not; split it first")
    end = links[-1].last
    assert end is not None
    if found.cut or (end.lacing and end.lacing[-1] == 255 and not end.flags & LAST):
        raise AudioError(f"truncated: its last Ogg page is cut short{_REMEDY}")
    if any(link.trimmed or _is_shifted(peek, link) for link in links):
        return None  # libsndfile loses its way, or the end; PyAV has all of it
    warnings = []
    if any(link.last is not None and not link.last.flags & LAST for link in links):
        warnings.append("the Ogg stream has no end mark; all that is there was read")
    if (most := max(map(len, sounds))) > 1:
        warnings.append(f"{most} sound tracks: number 1 was taken, the first; `track` takes another")
    if found.junk:
        warnings.append(f"{found.junk} bytes between or after the Ogg pages were left out")
    return Structure(tuple(_part(peek, link) for link in links), tuple(warnings), "OGG")


def _walk(peek: Peek) -> _Walk:
    """Go over the pages, up to one that the file's end cuts; raises `AudioError` where one is missing."""
    found = _Walk()
    begun, heard = True, False
    for page in pages(peek):
        if isinstance(page, NoPage):
            found.junk += page.junk
            found.bad += page.damaged
            found.cut = page.cut
            if found.bad > _MOST_BAD:
                raise AudioError(f"damaged: more than {_MOST_BAD} pages have a wrong checksum")
        elif page.flags & FIRST:
            if begun:
                found.groups.append([])
                heard = False
            begun = False
            codec = _codec(peek, page)
            # The first stream of sound of a link counts; others lie beside it.
            if codec and not heard:
                heard = True
                found.links.append(_Link(page.serial, *codec))
                check_parts(len(found.links))
                found.links[-1].add(page)
            found.groups[-1].append(codec[0] if codec else _name(peek, page))
        else:
            begun = True
            if found.links and page.serial == found.links[-1].serial:
                _continue(peek, found.links[-1], page)
    return found


def _continue(peek: Peek, link: _Link, page: Page) -> None:
    """Add the next page of a link; raises `AudioError` where one is missing before it."""
    assert link.last is not None
    # Who joins a broadcast gets its headers and then whatever page is on.
    if page.sequence - link.last.sequence != 1 and link.last.granule > 0:
        seconds = link.last.granule / link.rate
        raise AudioError(f"damaged: pages are missing after {seconds:.2f} s{_REMEDY}")
    if link.codec == "opus" and link.first is not None:
        held = opus_samples(packet_heads(peek, link.last))
        whole = not link.last.flags & CONTINUED and link.last is not link.first
        link.trimmed |= whole and link.granule < link.last.granule < link.granule + held
    link.add(page)


def _codec(peek: Peek, page: Page) -> tuple[str, int] | None:
    """Return the codec of a stream and the granules of a second, from its first packet."""
    packet = peek.at(page.body, min(page.stop - page.body, 64))
    for magic, name in _CODECS.items():
        if packet.startswith(magic):
            if name == "opus":
                return name, 48_000
            if name == "vorbis" and len(packet) >= 16:
                return name, int.from_bytes(packet[12:16], "little") or 1
            if name == "flac" and len(packet) >= 51:
                return name, int.from_bytes(packet[27:30], "big") >> 4 or 1
    return None


def _name(peek: Peek, page: Page) -> str:
    """Read what the first packet of another stream calls itself."""
    letters = bytes(byte for byte in peek.at(page.body, 16)[:8] if chr(byte).isalpha())
    return letters.decode("ascii", "ignore") or "an unknown codec"


def _is_shifted(peek: Peek, link: _Link) -> bool:
    """Tell whether the first page counts less than it holds, as in a file cut as it is; of FLAC, or more."""
    page = link.first
    if page is None or page.flags & CONTINUED or link.ident is None or link.setup is None:
        return False
    heads = packet_heads(peek, page)
    if link.codec == "flac":
        return flac_samples(heads) not in (None, page.granule)
    if link.codec == "vorbis" and not page.flags & LAST:
        ident = peek.at(link.ident.body, 32)
        tail = peek.at(max(link.setup.body, link.setup.stop - TAIL_BYTES), TAIL_BYTES)
        held = vorbis_samples(ident, tail[: link.setup.stop - link.setup.body], heads)
        return held is not None and page.granule < held
    return False


def _part(peek: Peek, link: _Link) -> Part:
    assert link.last is not None
    if link.codec == "flac":
        return _native_flac(peek, link)
    page = link.last
    granule = page.granule
    if granule < link.granule:
        # An end before the last page but one is no end. Vorbis ends with its packets, if allowed to.
        granule = link.granule + (opus_samples(packet_heads(peek, page)) if link.codec == "opus" else link.rate)
    if page.flags & LAST and granule == page.granule:
        return Part(tuple(link.pieces))
    # libsndfile looks for an end mark, and stops where the last granule says.
    ended = bytearray(peek.at(page.start, page.stop - page.start))
    ended[5] |= LAST
    ended[6:14] = struct.pack("<q", granule)
    ended[22:26] = struct.pack("<I", page_checksum(bytes(ended)))
    pieces: list[Piece] = [*link.pieces[:-1], range(link.pieces[-1].start, page.start), bytes(ended)]
    return Part(tuple(pieces))


def _native_flac(peek: Peek, link: _Link) -> Part:
    """FLAC without Ogg around it (its packets in a row), the length from the last granule."""
    assert link.last is not None
    first = link.packets[0].start + 9  # behind "\x7fFLAC", version and number of headers
    head = bytearray(peek.at(first, 42))
    samples = max(link.last.granule, link.granule)
    head[21] = head[21] & 0xF0 | samples >> 32 & 0xF
    head[22:26] = struct.pack(">I", samples & 0xFFFF_FFFF)
    rest = [range(first + 42, link.packets[0].stop), *link.packets[1:]]
    pieces: tuple[Piece, ...] = (bytes(head), *rest)
    return Part(pieces, samples)


def _append(stretches: list[range], start: int, stop: int) -> None:
    if stretches and stretches[-1].stop == start:
        stretches[-1] = range(stretches[-1].start, stop)
    else:
        stretches.append(range(start, stop))
