# `make` alone lists what there is. Needs a POSIX shell and Python 3.11 or newer, nothing else.

BIN = .venv/bin
CASES ?=
PYTEST = $(BIN)/python -m pytest

.PHONY: help demo test test-peers test-deploy check audit fix replay chaos-providers chaos chaos-quick chaos-seeds bench bench-quick \
	bench-limits bench-limits-quick bench-inbox bench-inbox-quick bench-startup bench-metrics bench-scaling \
	schema reference clean constraints

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile

demo: .venv/ready ## a real batch through simulated providers in bad weather; needs no key
	@$(BIN)/bucketline demo

test: .venv/ready-dev ## every test: unit, then integration with real servers
	@$(PYTEST) -n 2 --dist loadfile tests/unit
	@$(PYTEST) -n 2 --dist loadfile --reruns 1 tests/conformance tests/integration tests/docs

test-peers: .venv/ready-peers ## batches against mock providers of other hands, which break on purpose (a minute)
	@$(PYTEST) -n 2 tests/peers

test-deploy: .venv/ready-deploy ## what is slow or wants root: wheel, Procfile, network namespaces, deploy/
	@$(PYTEST) -n 2 --dist loadfile tests/deploy

check: .venv/ready-dev ## lint, format, types, import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

fix: .venv/ready-dev ## format, and mend what the linter can mend
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format --quiet .

replay: .venv/ready-dev ## known faults, case by case: make replay CASES="DIR…"
	@$(BIN)/python -m tests.replay $(CASES)

chaos-providers: .venv/ready-dev ## 5,000 lines through three providers in a scripted storm
	@$(BIN)/python -m tests.chaos.providers

chaos: .venv/ready-dev ## 10,000 lines through three workers while everything around them fails (ten minutes)
	@$(BIN)/python -m tests.chaos.lines

chaos-quick: .venv/ready-dev ## the same in a minute and a half
	@$(BIN)/python -m tests.chaos.lines --quick

chaos-seeds: .venv/ready-dev ## the quick form fifty times, by seed; its table goes to build/chaos-seeds.md (an hour)
	@$(BIN)/python -m tests.chaos.lines --quick --seeds 50 --log build/chaos-seeds.md

bench: .venv/ready-dev ## the whole line beside a bare loop and other clients; writes bench/results.md (half an hour)
	@$(BIN)/python -m bench.line

bench-quick: .venv/ready-dev ## its ratios alone (two minutes)
	@$(BIN)/python -m bench.line --quick --no-peers

bench-limits: .venv/ready-dev ## what the gate promises, each figure beside what it must be (ten minutes)
	@$(BIN)/python -m bench.limits

bench-limits-quick: .venv/ready-dev ## the same, shorter (four minutes)
	@$(BIN)/python -m bench.limits --quick

bench-startup: .venv/ready-dev ## what a look costs with a million queued lines, start to end (a minute)
	@$(BIN)/python -m bench.startup

bench-inbox: .venv/ready-dev ## 3,000 objects put into a bucket at once, three watchers: taken once, how soon, at what cost
	@$(BIN)/python -m bench.inbox

bench-inbox-quick: .venv/ready-dev ## the same with 300 (a minute)
	@$(BIN)/python -m bench.inbox --quick

bench-scaling: .venv/ready-dev ## what a line costs its worker, Redis and the store: the figures of docs/scaling.md (two minutes)
	@$(BIN)/python -m bench.scaling

bench-metrics: .venv/ready-dev ## what metrics take of a worker's core at 1,000 requests a second (a minute)
	@$(BIN)/python -m bench.metrics_cost

schema: .venv/ready-dev ## write the manifest's published schema anew from the code
	@$(BIN)/python -c "import sys; from bucketline.manifest import schema_bytes; sys.stdout.buffer.write(schema_bytes())" > docs/manifest.schema.json

reference: .venv/ready-dev ## write the pages that are made of the code anew
	@$(BIN)/python -m scripts.reference

audit: .venv/ready-deploy ## known weaknesses of the pinned packages, where the advisories can be reached
	@$(BIN)/python -m scripts.audit

clean: ## remove the environment and every cache
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find bucketline producer worker tests -name __pycache__ -type d -prune -exec rm -rf {} +

constraints: .venv/ready-dev ## write constraints.txt anew from what is installed
	@{ echo '# Versions that every test has passed with; pyproject.toml has the bounds. Written by `make constraints`.'; \
	  $(BIN)/python -m pip freeze --exclude-editable | grep -E '^[A-Za-z0-9_.-]+==[^ ]+$$'; } > constraints.new
	@mv constraints.new constraints.txt

.venv/ready: pyproject.toml constraints.txt scripts/setup
	@scripts/setup
	@touch $@

.venv/ready-dev: pyproject.toml constraints.txt scripts/setup
	@scripts/setup dev
	@touch $@ .venv/ready

.venv/ready-peers: .venv/ready-dev scripts/setup-peers tests/peers/package-lock.json
	@scripts/setup-peers

.venv/ready-deploy: .venv/ready-dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --editable '.[dev,deploy]'
	@touch $@
