# The targets people type. `make help` lists them with the line after `##`.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help quickstart test lint fuzz bench dist

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

quickstart: ## install what the build lacks, build, run the whole product here; options: ARGS="--listen 127.0.0.1:0"
	@scripts/install-deps.sh build
	cargo build --release --locked --bin cams
	@exec $${CARGO_TARGET_DIR:-target}/release/cams quickstart $(ARGS)

test: ## install what the tests lack and run all of them
	@scripts/install-deps.sh test
	@# Takes half a minute, once: while the compiler runs. A test that finds it missing tells why.
	@tests/data/samba/template.sh $${CARGO_TARGET_DIR:-target}/test-tools/samba >/dev/null 2>&1 </dev/null &
	@$(MAKE) --no-print-directory lint
	CAMS_TEST_SERVICES=required cargo test --workspace --locked --no-fail-fast

lint: ## formatting, clippy, the fuzzers' lock file, and with cargo-deny a check of the dependencies
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	@cargo metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml >/dev/null # fails where fuzz/Cargo.lock is stale
	@if command -v cargo-deny >/dev/null; then \
		cargo deny --workspace --locked check bans licenses sources; \
	else \
		echo "lint: cargo-deny is not installed; the test dependencies::* holds deny.toml's lists"; \
	fi

fuzz: ## run the fuzz targets for a minute each, with a nightly compiler; options: FUZZ_SECONDS=600 TARGETS="head target"
	@scripts/install-deps.sh build
	@scripts/fuzz.sh $(TARGETS)

bench: ## print the figures: build, size, memory, time to ready, time from revoke to refusal, cost of a request
	@scripts/install-deps.sh build
	@scripts/bench.sh

dist: ## build what is shipped, with link-time optimisation: target/dist/cams
	@scripts/install-deps.sh build
	cargo build --profile dist --locked --bin cams
