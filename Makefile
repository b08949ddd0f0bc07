# make demo: a model in minutes · make test: every check · make bench: the claims, one heavy job at a time
PYTHON ?= python3
BIN := .venv/bin
PEERS := .venv-peers/bin

.PHONY: setup demo test quick format lock bench soak peers clean
.DEFAULT_GOAL := setup

setup: .venv/.ready

.venv/.ready: requirements-bootstrap.lock requirements-dev.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip --version > /dev/null 2>&1 || $(BIN)/python -m ensurepip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bootstrap.lock
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --require-hashes -r requirements-dev.lock
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

demo: setup
	$(BIN)/unet demo --out demo --overwrite

test: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --cov --cov-report=term:skip-covered

quick: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -q

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

LOCK := uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet
# Not tensorrt: gigabytes for a GPU that these machines do not have.
EXTRAS := $(addprefix --extra ,dicom mlflow onnx openvino slides tiff timm zarr)
lock: setup
	$(BIN)/$(LOCK) requirements-bootstrap.in -o requirements-bootstrap.lock
	$(BIN)/$(LOCK) pyproject.toml $(EXTRAS) -o requirements.lock
	$(BIN)/$(LOCK) pyproject.toml $(EXTRAS) --group dev -o requirements-dev.lock
	$(BIN)/$(LOCK) pyproject.toml benchmarks/peers.in -o benchmarks/peers.lock

peers: .venv-peers/.ready

.venv-peers/.ready: .venv/.ready benchmarks/peers.lock
	test -x $(PEERS)/python || $(PYTHON) -m venv .venv-peers
	VIRTUAL_ENV=.venv-peers $(BIN)/uv pip install --quiet --require-hashes -r benchmarks/peers.lock
	VIRTUAL_ENV=.venv-peers $(BIN)/uv pip install --quiet --no-deps -e .
	touch $@

bench: setup peers
	$(BIN)/python benchmarks/main_road/bench.py
	$(BIN)/python benchmarks/architectures/bench.py
	$(BIN)/python benchmarks/inference/bench.py
	$(BIN)/python benchmarks/medicine/bench.py
	$(BIN)/python benchmarks/compression/bench.py
	$(BIN)/python benchmarks/continual/bench.py

soak: setup
	$(BIN)/python benchmarks/main_road/kill.py --kills 50
	$(BIN)/python benchmarks/continual/soak.py --kills 100
	$(BIN)/python -m pytest -q --hypothesis-profile=search tests/spatial tests/metrics tests/planning

clean:
	rm -rf .venv .venv-peers demo
