"""Search, explain and improve the receptive fields of convolutional networks."""

__version__ = "0.1.0"
