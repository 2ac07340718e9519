"""What FFmpeg reads and writes, through PyAV (extra `av`): films and all that libsndfile does not know.

Reading: `source`, with `frames`, whose times `clock` makes a steady stream. Writing: `film`, with `film_tracks`
for what is copied and `film_vorbis`. `tracks` is what a file holds, without decoding it.
"""
