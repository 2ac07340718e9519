"""How many samples the packets of a page of Ogg hold, for each of the codecs: what its granule should count."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from slimclean.audio.structure.flac import frame_place

TAIL_BYTES = 512
"""Modes of Vorbis lie within so many bytes before the end of its headers."""
_MODE_BITS, _MOST_MODES = 41, 64
"""Of a mode in Vorbis' setup header: long or short, window, transform and mapping (Vorbis I, 4.2.4)."""


def vorbis_samples(ident: bytes, setup: bytes, packets: Sequence[bytes]) -> int | None:
    """Return what the first `packets` of a stream give; None where its headers make no sense.

    `ident` is the first header, `setup` the end of the last one.
    """
    block = vorbis_block(ident, setup)
    if block is None:
        return None
    return sum((one + other) // 4 for one, other in itertools.pairwise(filter(None, map(block, packets))))


def vorbis_block(ident: bytes, setup: bytes) -> Callable[[bytes], int] | None:
    """Return what tells how long the block of a packet is, in samples, 0 for one without sound.

    Of two blocks, the second gives a quarter of both. Headers, and None, are as for `vorbis_samples`.
    """
    flags = _long_blocks(setup)
    if len(ident) < 29 or not flags:
        return None
    sizes = 1 << (ident[28] & 15), 1 << (ident[28] >> 4)
    mode_bits = (len(flags) - 1).bit_length()

    def size(packet: bytes) -> int:
        mode = packet[0] >> 1 & (1 << mode_bits) - 1 if packet else 0
        return sizes[flags[mode]] if packet and not packet[0] & 1 and mode < len(flags) else 0

    return size


def _long_blocks(setup: bytes) -> list[bool]:
    """Return which modes have long blocks, read from the end of the setup header on, where they stand."""
    bits = int.from_bytes(setup, "little")
    framing = bits.bit_length() - 1

    def number(start: int, count: int) -> int:
        return bits >> start & (1 << count) - 1

    flags: list[bool] = []
    found: list[bool] = []
    for mode in range(1, _MOST_MODES + 1):
        start = framing - _MODE_BITS * mode
        if start < 6 or number(start + 1, 32):  # window and transform are always 0
            break
        flags = [bool(number(start, 1)), *flags]
        if number(start - 6, 6) + 1 == mode:
            found = flags
    return found


def opus_samples(packets: Sequence[bytes]) -> int:
    """Return how many samples at 48 kHz `packets` hold (RFC 6716, section 3.1)."""
    samples = 0
    for packet in packets:
        if not packet:
            continue
        config, code = packet[0] >> 3, packet[0] & 3
        if config < 12:
            frame = (480, 960, 1920, 2880)[config & 3]
        elif config < 16:
            frame = (480, 960)[config & 1]
        else:
            frame = (120, 240, 480, 960)[config & 3]
        samples += frame * ((1, 2, 2)[code] if code < 3 else (packet[1] & 63 if len(packet) > 1 else 0))
    return samples


def flac_samples(packets: Sequence[bytes]) -> int | None:
    """Return how many samples `packets`, each a frame, hold; None where one is none."""
    total = 0
    for packet in packets:
        if (place := frame_place(packet, 0)) is None:
            return None
        total += place[1]
    return total
