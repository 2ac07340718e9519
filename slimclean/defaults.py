"""What holds where nobody says otherwise, in Python and on the command line, which imports no torch for it."""

TARGET_UF = 0.25
"""The mean UF that "auto" aims for."""
OPTIONS_FILE = "slimclean.toml"
"""Beside recordings, it holds options."""
