"""Measuring speed and memory: each measurement in a process of its own.

machine.py  what the figures were measured on, and how quiet it was
material.py what is spoken: model files, a voice, texts of a known length
work.py     the work that every engine does the same way, standard library only
child.py    that work by this package: the program of a child process
stages.py   where the time of a frame goes
run.py      children one after the other, medians of what they say
"""
