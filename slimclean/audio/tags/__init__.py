"""What lies beside the sound, texts, covers, chapters, markers and chunks: from the input into the output.

`keeping` is the way in: `reading`, with `id3_reading`; then `copying` between files of one kind, or `writing`
into another. WAV and AIFF hold `chunks`, whose contents `chunk_contents` corrects. `stale`
tells what is of the old sound; `code_pages` guesses how old texts are encoded.
"""
