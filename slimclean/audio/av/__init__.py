"""What FFmpeg reads and writes, through PyAV (extra `av`): films and all that libsndfile does not know.

Reading: `source`, with `frames`, whose times `clock` makes a steady stream. Writing: `film`, with `film_sound`
or `film_vorbis` for what is encoded, and `film_tracks` for what is copied. `tracks` is what a file holds,
without decoding it.
"""
