"""Detectors: rules as data (Sigma), compiled once, and the engine that turns events into findings. Pure."""
