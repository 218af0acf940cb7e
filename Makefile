# Each target does the set-up it needs, so each works in a fresh clone; what is done already takes no time.

PYTHON := .venv/bin/python
AIRLOCK := .venv/bin/airlock

# What makes the containers in `make demo`, `image`, `serve`: docker, or oci, which needs no daemon.
ifndef ENGINE
ENGINE := $(or $(AIRLOCK_ENGINE),docker)
endif
export AIRLOCK_ENGINE := $(ENGINE)

.DEFAULT_GOAL := help
.PHONY: help setup image demo serve test test-crash test-fuzz check bench lock clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup:  ## install what is missing: system packages, virtual environment
	scripts/set-up $(filter oci,$(ENGINE))

image: setup  ## build the sandbox image, starting a Docker daemon if none answers (ENGINE=oci: without one)
	$(if $(filter oci,$(ENGINE)),,scripts/dockerd start)
	$(AIRLOCK) image build

demo: setup  ## the tour: three examples against a server of their own; results in demo-output/ (ENGINE=oci: no daemon)
	$(PYTHON) scripts/demo

serve: image  ## start the server; the first time it prints an API key, once
	exec $(AIRLOCK) serve

test: image  ## every test, in real containers
	scripts/set-up tests
	$(PYTHON) -m pytest --numprocesses 2 --dist loadfile --reruns 2 --reruns-delay 5 --rerun-show-tracebacks -r R

test-crash: image  ## 200 kills of the server, Docker and containers, under load; about half an hour
	scripts/set-up tests
	AIRLOCK_CRASH_KILLS=$${AIRLOCK_CRASH_KILLS:-200} $(PYTHON) -m pytest -s tests/crash

test-fuzz: image  ## 100,000 requests made from the OpenAPI document, fitting it and not; about an hour
	scripts/set-up tests
	AIRLOCK_FUZZ_REQUESTS=$${AIRLOCK_FUZZ_REQUESTS:-100000} \
	AIRLOCK_FUZZ_SEED=$${AIRLOCK_FUZZ_SEED:-$$(date +%s)} \
		$(PYTHON) -m pytest --timeout 0 --numprocesses 2 tests/fuzz

check: setup  ## lint, types, and which floor may import which
	$(PYTHON) -m ruff check . scripts/demo
	$(PYTHON) -m mypy
	PYTHONPATH=sandbox_image .venv/bin/lint-imports

bench: image  ## measure what a run costs
	$(PYTHON) benchmarks/runs.py --large-megabytes 1000 --json .build/runs.json
	$(PYTHON) benchmarks/tables.py --megabytes 100

lock: setup  ## write the locked versions in requirements/ anew
	$(PYTHON) -m pip install --quiet uv
	.venv/bin/uv pip compile -q --generate-hashes --no-emit-index-url --no-annotate --no-header \
		--extra build pyproject.toml -o requirements/run.txt
	.venv/bin/uv pip compile -q --generate-hashes --no-emit-index-url --no-annotate --no-header \
		--extra dev pyproject.toml -o requirements/dev.txt

clean:  ## remove what was made here, but not the virtual environment, the image and any server's data
	rm -rf .build demo-output dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
