"""Reads a network without training it: what every layer sees, and what it costs."""
