"""How many samples the packets of a page of Ogg hold, for each of the codecs: what its granule should count."""

from __future__ import annotations

from collections.abc import Sequence

from slimclean.audio.structure.flac import frame_place

_MODE_BITS, _MOST_MODES = 41, 64
"""Of a mode in Vorbis' setup header: long or short, window, transform and mapping (Vorbis I, 4.2.4)."""


def vorbis_samples(ident: bytes, setup: bytes, packets: Sequence[bytes]) -> int | None:
    """Return what the first `packets` of a stream give; None where its headers make no sense.

    `ident` is the first header, `setup` the end of the last one.
    """
    flags = _long_blocks(setup)
    if len(ident) < 29 or not flags:
        return None
    sizes = 1 << (ident[28] & 15), 1 << (ident[28] >> 4)
    mode_bits = (len(flags) - 1).bit_length()
    total, before = 0, 0
    for packet in packets:
        mode = packet[0] >> 1 & (1 << mode_bits) - 1 if packet else 0
        if not packet or packet[0] & 1 or mode >= len(flags):
            continue  # no sound
        size = sizes[flags[mode]]
        total += (before + size) // 4 if before else 0
        before = size
    return total


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
