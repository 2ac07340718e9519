"""Training: what is mixed, what is minimised, the loop, teaching the router, packaging the weights."""
