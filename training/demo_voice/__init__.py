"""Trains the voice in the box: a miniature Pocket TTS in the official layout, made from nothing.

`python -m training.demo_voice --help` lists the steps. README.md tells what they do and in which order.
"""
