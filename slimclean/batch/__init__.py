"""Recordings from file to file: which, how many at once, and the row that tells how each went.

The way of a batch: plan (with collisions and options), run (with machine, and together for one gain), recording
for each (or pipe), with diagnostics, mastering and trace; report holds the rows, report_file writes them.
"""
