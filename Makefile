# The entry points of a fresh clone. `make help` lists them.
#   make PYTHON=python3.12 …   another Python for .venv (3.10, 3.11 or 3.12)
#   make WORKERS=8 test        more test processes
#   make STACK=onedl test      OneDL's packages in .venv-onedl in place of OpenMMLab's

PYTHON ?= python3
WORKERS ?= 2

STACK ?= openmmlab
ifeq ($(filter openmmlab onedl,$(STACK)),)
$(error STACK=$(STACK) is unknown; accepted are openmmlab and onedl)
endif

VENV := .venv$(if $(filter onedl,$(STACK)),-onedl)
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
UV_INSTALL := $(BIN)/uv pip install --python $(BIN)/python
LOCK := requirements/constraints.txt
MM_FOLDER := requirements$(if $(filter onedl,$(STACK)),/onedl)
MM_FILES := $(addprefix $(MM_FOLDER)/,mminstall.txt mmcv.txt)
REQUIREMENTS := $(addprefix requirements/,runtime.txt optional.txt tests.txt)
MMCV := $(shell sed -n 's/^mmcv==//p' requirements/mmcv.txt)
space := $(subst ,, )

# Every tool and test is a process of its own: importing is most of its start-up.
export UV_COMPILE_BYTECODE := 1

# Waiting threads sleep: spinning ones slow a shared machine down several times over.
export OMP_WAIT_POLICY ?= PASSIVE

MAKEFLAGS += --no-print-directory --no-builtin-rules
.DEFAULT_GOAL := help
.NOTPARALLEL:

# One line when a step starts, and one sentence when it fails.
say = @printf '\n==> %s\n' '$(1)'
or_fail = || { printf 'mmdcls set-up: %s\n' '$(strip $(1))' >&2; exit 1; }

.PHONY: help demo test test-fast test-torch lint env lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: env  ## train, evaluate and draw all three tasks on mini data
	$(call say,demo: mini data in data/mini)
	@$(BIN)/python tools/dataset_converters/make_mini.py --out-dir data/mini
	$(call say,demo: train evaluate and draw; results go to work_dirs/demo)
	@PYTHONWARNINGS=ignore $(BIN)/python tools/mini_demo.py

# One thread a process: the test processes already fill the cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

test: lint  ## lint, then every test, the slow ones included
	$(call say,test: all tests in $(WORKERS) processes)
	@$(PYTEST)

test-fast: lint  ## lint, then the tests that take seconds
	$(call say,test: the fast tests in $(WORKERS) processes)
	@$(PYTEST) -m 'not slow'

# On another PyTorch: what needs no compiled MMCV. Pins hold but for what depends on
# PyTorch, which is left to the resolver. PyTorch 2.1 and 2.2 need NumPy 1, and the
# interpreter of the Triton of 2.8 needs NumPy below 2.3.
TORCH ?= 2.1.2
TORCH_VENV := .venv-torch$(TORCH)
TORCH_STAMP := $(TORCH_VENV)/.stamp
TORCH_TESTS := ops layers checkpoints converters engine evaluation models robustness
TORCH_TESTS := $(addprefix tests/,$(TORCH_TESTS) test_plain_pytorch.py)
ON_TORCH := torch triton sympy numpy nvidia- cuda- setuptools opencv-python onnx ml-dtypes pandas

test-torch: $(TORCH_STAMP)  ## test what needs no compiled MMCV on TORCH=2.1.2, or another
	$(call say,test-torch: the fast tests of $(words $(TORCH_TESTS)) rooms on PyTorch $(TORCH))
	@PYTHONPATH=. OMP_NUM_THREADS=1 $(TORCH_VENV)/bin/python -m pytest -n $(WORKERS) \
	  --dist loadfile -m 'not slow' $(TORCH_TESTS)

$(TORCH_STAMP): $(LOCK) $(MM_FILES) $(REQUIREMENTS)
	$(call say,set-up: PyTorch $(TORCH) in $(TORCH_VENV))
	@$(PYTHON) -m venv $(TORCH_VENV)
	@$(TORCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c $(LOCK) uv
	@grep -vE '^($(subst $(space),|,$(ON_TORCH)))' $(LOCK) >$(TORCH_VENV)/constraints.txt
	@grep -hv '^-c ' requirements/mminstall.txt $(REQUIREMENTS) \
	  | $(TORCH_VENV)/bin/uv pip install --quiet --python $(TORCH_VENV)/bin/python \
	    -c $(TORCH_VENV)/constraints.txt -r - torch==$(TORCH) torchvision 'setuptools<81' \
	    mmcv-lite==$(MMCV) $(if $(filter 2.1.% 2.2.%,$(TORCH)),'numpy<2') \
	    $(if $(filter 2.8.%,$(TORCH)),'numpy<2.3') \
	  && $(TORCH_VENV)/bin/python -c 'import mmcv, torch' $(call or_fail,\
	  could not install PyTorch $(TORCH) for $(PYTHON): see the message above.)
	@touch $@

lint: env  ## check style, formatting, types and spelling
	$(call say,lint)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/codespell
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows \
	  .github/workflows/*.yml

env: $(STAMPS)/mmdcls  ## make .venv with everything in it (again: does what is missing)

$(STAMPS)/venv:
	$(call say,set-up 1/5: check this machine and make $(VENV))
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 6)' 2>/dev/null $(call or_fail,\
	  no Python: `$(PYTHON)` is not on PATH or does not start or is older than 3.6. \
	  Install Python 3.10 to 3.12 or name it in PYTHON.)
	@$(PYTHON) tools/setup/check_machine.py
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV) $(call or_fail,\
	  could not make $(VENV) with $(PYTHON): see the message above.)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  -c $(LOCK) uv $(call or_fail,\
	  could not install uv with pip: is there a network connection? See the message above.)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/torch: requirements/build.txt $(LOCK) | $(STAMPS)/venv
	$(call say,set-up 2/5: PyTorch and the build tools (2 GB to download))
	@$(UV_INSTALL) -r requirements/build.txt $(call or_fail,\
	  could not install PyTorch: is there a network connection? See the message above.)
	@touch $@

$(STAMPS)/openmmlab: $(MM_FILES) tools/setup/install_mmcv.py $(STAMPS)/torch
	$(call say,set-up 3/5: OpenMMLab; MMCV ready-made or compiled once (5 min on 2 cores))
	@$(UV_INSTALL) -r $(MM_FOLDER)/mminstall.txt $(call or_fail,\
	  could not install the OpenMMLab packages: see the message above.)
	@$(BIN)/python -u tools/setup/install_mmcv.py $(MM_FOLDER)/mmcv.txt $(call or_fail,\
	  could not compile or install MMCV: see the message above.)
	@touch $@

$(STAMPS)/packages: $(REQUIREMENTS) $(STAMPS)/openmmlab
	$(call say,set-up 4/5: the other packages)
	@$(UV_INSTALL) $(addprefix -r ,$(REQUIREMENTS)) $(call or_fail,\
	  could not install the packages of requirements/: see the message above.)
	@touch $@

$(STAMPS)/mmdcls: setup.py pyproject.toml MANIFEST.in mmdcls/version.py $(STAMPS)/packages
	$(call say,set-up 5/5: mmdcls itself)
	@$(UV_INSTALL) --no-build-isolation --no-deps --editable . $(call or_fail,\
	  could not install mmdcls: see the message above.)
# `mim` finds an editable install by this folder, from the repository's root only.
	@$(BIN)/python setup.py egg_info >/dev/null 2>&1 $(call or_fail,\
	  could not write mmdcls.egg-info: `$(BIN)/python setup.py egg_info` tells why.)
	@touch $@

# Pins stay as they are where requirements/ allows; `make lock LOCK_FLAGS=--upgrade`
# takes the newest versions. One file serves every supported Python.
LOCK_FLAGS ?=

lock: env  ## pin the whole stack anew in requirements/constraints.txt
	@grep -hv '^-c ' requirements/build.txt requirements/mm*.txt $(REQUIREMENTS) \
	  | $(BIN)/uv pip compile - --quiet --output-file $(LOCK) $(LOCK_FLAGS) \
	    --python $(BIN)/python --python-version 3.10 --universal --no-build-isolation \
	    --no-annotate --custom-compile-command 'make lock'

clean:  ## remove caches, build folders, data/mini and work_dirs/demo (keeps .venv)
	@rm -rf build dist .pytest_cache .ruff_cache .hypothesis \
	  data/mini work_dirs/demo
	@find configs mmdcls tests tools -name __pycache__ -prune -exec rm -rf {} +
