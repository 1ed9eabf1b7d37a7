"""Pocket TTS in plain Python: read `generate.py` first, then `flow_lm.py` and `mimi.py`."""
