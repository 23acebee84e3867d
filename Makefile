# The verbs of this repository. Those that need .venv set it up first; an environment that is complete is left alone.

PYTHON ?= python3.11
# Which vLLM: cuda where an NVIDIA GPU answers, else cpu. `make VARIANT=cpu serve` decides otherwise.
VARIANT ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo cuda || echo cpu)
# Passed on to the command: make serve ARGS="--port 9000", make test ARGS="-k selection".
ARGS ?=

LOCK := requirements/$(VARIANT).lock
# Set up means: this content was installed to the end. The stamp carries the content's hash in its name.
STAMP := .venv/installed-$(VARIANT)-$(shell cat $(LOCK) pyproject.toml | sha256sum | cut -c1-16)
TYPED := bestofn_server service reward training measuring loadtests tests scripts

.PHONY: help install serve observe test check format bench bench-n bench-peers bench-training overload faults slo strategies compare dashboard tools lock clean

help: ## List these verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## Create .venv and install the locked versions and this project

$(STAMP):
	@command -v $(PYTHON) >/dev/null || { \
	  echo "No $(PYTHON) here. Install Python 3.11, or name one: make $(MAKECMDGOALS) PYTHON=/path/to/python" >&2; exit 1; }
	@echo "Installing $(LOCK) into .venv (2 to 4 minutes the first time)"
	@$(PYTHON) scripts/install.py $(LOCK)
	@rm -f .venv/installed-*
	@touch $@

serve: $(STAMP) ## Start the server with the bundled checkpoints
	@.venv/bin/bestofn serve $(ARGS)

observe: ## Run Prometheus beside a running server (ARGS="host:port", default 127.0.0.1:8000) and say where its page is
	@$(PYTHON) -m scripts.observe $(ARGS)

test: $(STAMP) ## Run every test, real engines included
	@.venv/bin/python -m pytest $(ARGS)

check: $(STAMP) ## Lint, formatting and types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy $(TYPED)

format: $(STAMP) ## Rewrite the code in the house format, with the safe fixes of the linter
	.venv/bin/ruff check --fix-only .
	.venv/bin/ruff format .

bench: $(STAMP) ## Measure what best-of-N costs over plain vLLM on this machine
	@.venv/bin/python -m loadtests.bench.overhead

bench-n: $(STAMP) ## Measure how latency grows with N beside plain vLLM's own n
	@.venv/bin/python -m loadtests.bench.growth

overload: $(STAMP) ## Drive a server to four times its capacity with locust, and hold its counters against locust's
	@.venv/bin/python -m loadtests.bench.overload

faults: $(STAMP) ## Inject faults into a real server and judge every answer (half an hour; ARGS="--kinds disconnect,flood")
	@.venv/bin/python -m loadtests.bench.faults.measure $(ARGS)

slo: $(STAMP) ## Twice the load that fixed N = 16 can bear, with and without --slo-p99-ms (10 minutes)
	@.venv/bin/python -m loadtests.bench.latency_target.measure $(ARGS)

strategies: $(STAMP) ## Measure what prune, adaptive, deadlines and stop_after cost and keep, by gold (11 minutes)
	@.venv/bin/python -m loadtests.bench.strategies.measure $(ARGS)

bench-peers: $(STAMP) ## Compare with its_hub and optillm (ARGS="--its-hub PYTHON --optillm PYTHON", see the module)
	@.venv/bin/python -m loadtests.bench.peers.measure $(ARGS)

bench-training: $(STAMP) ## Measure the trainers' tokens a second beside TRL's (ARGS="sft", reward, dpo or sharing for one)
	@.venv/bin/python -m loadtests.bench.training $(ARGS)

compare: $(STAMP) ## Best-of-N against trained policies: quality, latency, dollars and break-even as one page (25 minutes)
	@.venv/bin/bestofn compare $(ARGS)

dashboard: ## Write Grafana's dashboard and docs/dashboard.md from scripts/dashboard_panels.py
	@$(PYTHON) -m scripts.dashboard

tools: ## Bring Prometheus into .tools and install Chromium, where they are not on the PATH: the tests use them
	@$(PYTHON) scripts/tools.py

lock: $(STAMP) ## Resolve pyproject.toml into requirements/*.lock (ARGS=--upgrade for newer versions)
	.venv/bin/python scripts/lock.py $(ARGS)

clean: ## Delete caches and build outputs; .venv stays (rm -rf .venv to start over)
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find $(TYPED) -name __pycache__ -type d -prune -exec rm -rf {} +
