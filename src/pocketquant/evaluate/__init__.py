"""What quantization did to the speech: every recipe against the float model, paired, with intervals.

measures.py    two arrays in, numbers out          statistics.py  numbers per sentence -> value, interval
variants.py    a recipe as a model that can speak  catalog.py     the measures: name, unit, how they sum
speech.py      free running                        run.py         all of it, for all recipes
teacher.py     the float model's latents, forced   sensitivity.py one group of tensors at a time
codec.py       the same latents, two decoders      gate.py        `--fail-if`
wer.py, similarity.py, cost.py                     verdict.py, page.py, markdown.py: for people
"""
