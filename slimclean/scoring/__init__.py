"""Numbers that say how good enhanced speech is, and how fast it was made."""
