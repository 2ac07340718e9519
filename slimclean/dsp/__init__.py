"""Arithmetic on sound as arrays: what knows neither files nor the network."""

SAMPLE_RATE = 16_000
"""In Hz: what the network hears, what measures compare, what training mixes."""
