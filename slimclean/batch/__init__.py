"""Recordings from file to file: which, how many at once, and the row that tells how each went."""
