"""The network: a DEMUCS enhancer whose blocks slim frame by frame, and the router that slims them."""

from slimclean.model.config import ModelConfig
from slimclean.model.demucs import SlimmableDemucs

__all__ = ["ModelConfig", "SlimmableDemucs"]
