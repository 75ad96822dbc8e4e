# The only door. `make help` lists what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help
STORE ?= embedded
PROFILE ?= dev
CARGO ?= cargo
FUZZ_SECONDS ?= 60
export PROFILE_DIR := $(if $(filter release,$(PROFILE)),release,debug)
PLANS := $(wildcard controllers/*/src/plan.rs controllers/*/src/plan/*.rs controllers/*/src/plan/*/*.rs controllers/*/src/*/plan.rs controllers/*/src/*/plan/*.rs)
DENY_VERSION := 0.20.2

.PHONY: help setup build demo up down check purity schemas deny test bench sim sim-stats fuzz clean

help: ## lists what there is
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 16

setup: ## installs what is missing, starts Docker and a Swarm where there is none
	@tests/setup/packages.sh build run $(if $(filter etcd,$(STORE)),etcd)
	@tests/setup/docker.sh start

build: ## builds the programs, and the demo service as a static binary
	@tests/setup/packages.sh build
	$(CARGO) build --locked --profile $(PROFILE) --workspace --bins --exclude demo-service
	$(CARGO) rustc --locked --profile $(PROFILE) -p demo-service --bin demo-service -- -C target-feature=+crt-static

demo: setup build ## plays a rollout's whole story, live, on real systems (STORE=etcd for a real etcd)
	@target/$(PROFILE_DIR)/fm-demo --store $(STORE)

up: setup build ## starts the stack for your own manifests
	@tests/setup/stack.sh up

down: ## stops that stack and loses nothing
	@tests/setup/stack.sh down

check: purity ## formatting, lints, documentation, schemas, purity, dependencies
	@tests/setup/packages.sh build
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --quiet
	$(CARGO) test --locked --quiet --workspace --test schemas
	@$(MAKE) --no-print-directory deny

purity: ## plans do no I/O, read no clock, and draw nothing
	@test -n "$(PLANS)"
	@! grep -nE '\basync\b|\btokio\b|\bbollard\b|\bhyper\b|\breqwest\b|Timestamp::now|SystemTime|Instant|\brand\b|std::(fs|net|process|env)|Uuid::(now|new)' $(PLANS) \
		|| { echo "check: a plan must be pure"; exit 1; }

schemas: ## writes schemas/ anew
	WRITE_SCHEMAS=1 $(CARGO) test --locked --quiet --workspace --test schemas

deny: ## licences, sources, bans; advisories where their database can be reached
	@command -v cargo-deny >/dev/null 2>&1 || { echo "check: installing cargo-deny"; CARGO_PROFILE_DEV_DEBUG=false $(CARGO) install cargo-deny --locked --version $(DENY_VERSION) --quiet --profile dev; }
	$(CARGO) deny --locked --log-level error check bans licenses sources
	@$(CARGO) deny --locked --log-level error check advisories 2>target/advisories.log || { \
		if grep -qiE 'failed to fetch|could not resolve|dns|network|connect' target/advisories.log; then \
			echo "!! check: the database of security advisories cannot be reached: ADVISORIES WERE NOT CHECKED"; \
		else cat target/advisories.log; exit 1; fi; }

test: ## make check, and every test: unit, property, store contract, end to end on real systems
	@tests/setup/packages.sh build run etcd test
	@$(MAKE) --no-print-directory check
	$(CARGO) test --locked --workspace --no-run
	$(CARGO) rustc --locked -p demo-service --bin demo-service -- -C target-feature=+crt-static
	@tests/setup/docker.sh start
	$(CARGO) test --locked --workspace --exclude fm-e2e
	$(CARGO) test --locked --workspace --test end_to_end -- --test-threads=2

bench: ## measures on real systems, as ratios; also written to target/bench/summary.jsonl
	@tests/setup/packages.sh build run etcd bench
	@tests/setup/docker.sh start
	@$(MAKE) --no-print-directory build PROFILE=release
	target/release/fm-bench

sim: sim-stats ## the simulations: so far the analysis' own

sim-stats: ## what the analysis must reach, item by item, proven by seeded simulation
	$(CARGO) run --locked --release -p fm-analysis --example sim_stats

fuzz: ## fuzzes every reader of foreign bytes (FUZZ_SECONDS=600 for each; FUZZ_TARGETS="line replay")
	@tests/setup/packages.sh build fuzz
	@tests/fuzz/run.sh $(FUZZ_SECONDS) $(FUZZ_TARGETS)

clean: ## stops what was started here, and removes what was built
	@tests/setup/stack.sh down
	@tests/setup/docker.sh stop
	$(CARGO) clean
