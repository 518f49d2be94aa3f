# What a person types. `make` alone lists it. TEMAS_HOME and TEMAS_PORT_OFFSET choose another stack than the usual one.
.DEFAULT_GOAL := help
.PHONY: help up down status logs reset demo test lint check bench bench-against bench-scale lock fmt
RUN := .venv/bin/
# How many processes `auto` means stands in tests/conftest.py: each starts servers of its own.
PARALLEL := --numprocesses auto --dist loadfile

help: ## List what can be typed
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

up: .venv/.ready ## Start PostgreSQL, Kafka and the four services, and wait until all serve
	@$(RUN)python -m deploy.local up

down: .venv/.ready ## Stop everything, services first
	@$(RUN)python -m deploy.local down

status: .venv/.ready ## Show what runs
	@$(RUN)python -m deploy.local status

logs: .venv/.ready ## Show the logs: all, or name=kafka; follow=1 goes on
	@$(RUN)python -m deploy.local logs $(name) $(if $(follow),--follow)

reset: .venv/.ready ## Stop everything and delete its state: databases, topics, keys, logs
	@$(RUN)python -m deploy.local reset

demo: .venv/.ready ## Show Temas at work on the purchases of 2,357 real customers
	@$(RUN)python -m deploy.demo

test: .venv/.ready ## Run every test, on real PostgreSQL and real Kafka
	@$(RUN)pytest $(PARALLEL)

lint: .venv/.ready ## Look at style, types and architecture
	@$(RUN)ruff check .
	@$(RUN)ruff format --check .
	@$(RUN)mypy
	@$(RUN)lint-imports

check: lint ## Run the fast half: lint, and the tests that need no server
	@$(RUN)pytest $(PARALLEL) -m "not servers and not e2e"

bench: .venv/.ready ## Measure speed, each figure beside its raw limit of the same run
	@$(RUN)python -m tests.bench

bench-against: .venv/.ready ## Measure this checkout and another by turns: commit=abc1234; rounds=, only=batch,single,way,decide
	@$(RUN)python -m tests.bench.against $(or $(commit),HEAD) $(if $(rounds),--rounds $(rounds)) $(if $(only),--only $(only))

bench-scale: .venv/.ready ## Measure what an event costs among 10,000, 100,000 and a million profiles
	@$(RUN)python -m tests.bench.scale $(if $(sizes),--sizes $(sizes))

lock: .venv/.ready ## Pin the dependencies of pyproject.toml in requirements.lock
	@$(RUN)uv pip compile -q --generate-hashes --universal --python-version 3.11 --all-extras --no-header --no-annotate pyproject.toml -o requirements.lock

fmt: .venv/.ready ## Put the code in order
	@$(RUN)ruff check --fix . ; $(RUN)ruff format .

# The first Python that is new enough and can make virtual environments (Debian's needs python3-venv for that).
.venv/.ready: requirements.lock
	@for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
		$$python -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; python=; \
	done; \
	if [ -z "$$python" ]; then \
		echo "Temas needs Python 3.11 or later with venv: install it (on Debian: python3 and python3-venv), or type make PYTHON=/path/to/python3." >&2; exit 1; \
	fi; \
	echo "Installing what Temas needs into .venv (once, about a minute) ..." && \
	$$python -m venv .venv && $(RUN)pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock && touch $@
