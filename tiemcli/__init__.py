"""Explain what a video classifier looked at, and when, from its ONNX file."""

__version__ = "0.1.0"
