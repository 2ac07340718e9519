"""How long a recording really is, and of what parts, by its bytes: headers may be wrong.

`view` is how all of them read, `sizes` what headers say of sizes and lengths. A kind of file each: `wave_file`,
with `riff` and `chunk_bytes`; `headers`, of AIFF, AU, CAF, W64 and their like; `flac`; `ogg`, with `ogg_pages`
and `ogg_packets`; `mpeg`, with `mpeg_frame`; `extent`, of films. `player_tags` stand before and behind sound of
many kinds.
"""
