"""Arithmetic on sound as arrays: what knows neither files nor the network."""
