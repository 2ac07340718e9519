"""Recordings from file to file: which, how many at once, and the row that tells how each went.

The way of a batch: plan makes tasks (with inputs, collisions, options and resume), run does them (with machine,
and together for one gain), recording each of them (or pipe), with diagnostics, mastering and trace; report
holds the rows, report_file writes them.
"""
