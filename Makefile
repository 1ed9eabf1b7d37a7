# Everything runs in virtual environments of its own; nothing has to be installed beforehand but
# Python >= 3.10, make and (for the compiled core) a C++ compiler.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PARITY := .venv-parity
SOURCES := pyproject.toml CMakeLists.txt $(shell find src -name '*.cpp' -o -name '*.h')
CODE := src tests benchmarks training

.PHONY: demo test lint parity voice-smoke sanitize arm clean

demo: $(VENV)/.installed  ## the main job, offline: quantize the voice in the box and say what it cost
	$(BIN)/pocketquant demo out

test: $(VENV)/.installed
	$(BIN)/python -m pytest

lint: $(VENV)/.installed
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy

parity: $(PARITY)/.installed  ## against the official package and compressed-tensors (installs torch)
	$(PARITY)/bin/python -m pytest -o addopts="" -q -s tests/parity

voice-smoke: $(PARITY)/.installed  ## every training step of the voice in the box on a handful of sentences
	$(PARITY)/bin/python -m pip install --quiet hibari-tts onnx onnxruntime scipy
	$(PARITY)/bin/python -m pytest -o addopts="" -q -s tests/training

sanitize: $(VENV)/.installed  ## the kernels under AddressSanitizer and UBSan
	PATH="$(abspath $(BIN)):$$PATH" sh tests/native/sanitize.sh

arm: $(VENV)/.installed  ## the ARM kernels under emulation; needs g++-aarch64-linux-gnu and qemu-user
	PATH="$(abspath $(BIN)):$$PATH" sh tests/native/cross/arm.sh

# Editable, so that a change in Python needs no second installation; C++ does, and is a dependency here.
$(VENV)/.installed: $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[test,lint]'
	touch $@

# torch's CPU build first: what comes after it must not choose a version of its own.
$(PARITY)/.installed: $(SOURCES)
	test -x $(PARITY)/bin/python || $(PYTHON) -m venv $(PARITY)
	$(PARITY)/bin/python -m pip install --quiet --upgrade pip
	$(PARITY)/bin/python -m pip install --quiet torch==2.13.0
	$(PARITY)/bin/python -m pip install --quiet -e '.[test,parity]'
	touch $@

clean:
	rm -rf $(VENV) $(PARITY) build out .pytest_cache .mypy_cache .ruff_cache .hypothesis
