# reelfs. `make help` lists what can be made. Only the release profile is built: RocksDB compiles once.

PREFIX ?= /usr/local
DESTDIR ?=
FUZZ_SECONDS ?= 60
SOAK_SECONDS ?= 3600
FSX_OPERATIONS ?= 1000000
FSX_SEED_COUNT ?= 10
RACE_OPERATIONS ?= 1000000
MEMORY_FILES ?= 1000000
KILL_ROUNDS ?= 1000
POWER_CUTS ?= 2000
THRASH_ROUNDS ?= 200

CARGO ?= cargo
TARGET_DIR := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),$(CURDIR)/target)
RELEASE := $(TARGET_DIR)/release
FUZZ_TARGETS := $(basename $(notdir $(wildcard fuzz/targets/*.rs)))
# Fuzzing needs compiler flags that the stable toolchain hides; cargo-fuzz stays beside the builds.
FUZZ_TOOLS := $(TARGET_DIR)/tools
POSIX_TOOLS := $(TARGET_DIR)/tools
FUZZ := RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$(TARGET_DIR)/fuzz PATH="$(FUZZ_TOOLS)/bin:$$PATH" $(CARGO) fuzz

.DEFAULT_GOAL := build
.PHONY: help build test test-guest posix fsx stress demo bench fuzz lint format install soak clean deps

help: ## list what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 12

deps: ## install what the build and the tests need, as far as it is missing
	@./.ci/deps

build: deps ## build the release binaries
	$(CARGO) build --release --workspace --locked

test: deps ## run all tests
	$(CARGO) test --release --workspace --locked

test-guest: build ## run the tape tests on /dev/sg nodes, in a virtual machine
	CARGO_TARGET_DIR="$(TARGET_DIR)" RELEASE="$(RELEASE)" tools/guest/run

# The suites are programs of their own, kept beside the builds; root is needed to mount.
$(POSIX_TOOLS)/bin/%:
	CARGO_TARGET_DIR=$(TARGET_DIR)/posix-install $(CARGO) install $* --locked --root "$(POSIX_TOOLS)"

posix: build $(POSIX_TOOLS)/bin/pjdfstest ## run the suite of POSIX tests in a mounted staging
	PJDFSTEST="$(POSIX_TOOLS)/bin/pjdfstest" $(CARGO) test --release --locked -p mountd --test mount -- \
	    --nocapture staging::posix::the_suite

fsx: build $(POSIX_TOOLS)/bin/fsx ## run fsx in a mounted staging, FSX_OPERATIONS on each of FSX_SEED_COUNT seeds
	FSX="$(POSIX_TOOLS)/bin/fsx" FSX_OPERATIONS=$(FSX_OPERATIONS) FSX_SEED_COUNT=$(FSX_SEED_COUNT) \
	    $(CARGO) test --release --locked -p mountd --test mount -- --nocapture staging::posix::a_long

# All stressors of the class that ask nothing of a file system that a FUSE mount cannot have.
STRESSORS ?= access chattr chdir chmod chown copy-file dentry dir dirdeep dirmany dnotify dup fallocate fcntl fiemap \
    file-ioctl filename flock fpunch fsize fstat getdent hdd inode-flags inotify io iomix lease link locka lockf \
    lockofd mknod open rename symlink sync-file touch utime verity xattr
stress: build ## run stress-ng's file system stressors in a mounted staging
	STRESSORS="$(STRESSORS)" $(CARGO) test --release --locked -p mountd --test mount -- --nocapture staging::suites

demo: build ## back up a real tree, mount it, stage, archive on tape, restore, compare
	RELEASE="$(RELEASE)" tools/demo/run

bench: build ## measure against ext4 and peers: table and plot
	RELEASE="$(RELEASE)" bench/run

lint: deps ## check style, lints and manual pages
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets --locked -- --deny warnings
	$(CARGO) test --release --locked -p reelfs --test tidy
	@for page in man/*.[1-8]; do \
	    warnings=$$(man --warnings -l "$$page" 2>&1 >/dev/null) && test -z "$$warnings" || \
	        { echo "$$page: $$warnings" >&2; exit 1; }; \
	done

format: ## format the sources
	$(CARGO) fmt --all
	cd fuzz && $(CARGO) fmt

# Targets of iSCSI have threads, and LeakSanitizer takes the storage of one that starts or ends for a leak.
fuzz: deps ## fuzz every parser for FUZZ_SECONDS each
	@test -x "$(FUZZ_TOOLS)/bin/cargo-fuzz" || CARGO_TARGET_DIR=$(TARGET_DIR)/fuzz-install \
	    $(CARGO) install cargo-fuzz --version 0.13.2 --locked --root "$(FUZZ_TOOLS)"
	cd fuzz && $(FUZZ) build
	@for target in $(FUZZ_TARGETS); do \
	    case "$$target" in iscsi_*) leaks=0 ;; *) leaks=1 ;; esac; \
	    python3 fuzz/seeds.py "$$target" "fuzz/corpus/$$target" && \
	    (cd fuzz && $(FUZZ) run "$$target" -- -max_total_time=$(FUZZ_SECONDS) -max_len=16384 \
	        -rss_limit_mb=1024 -detect_leaks=$$leaks -verbosity=0 -print_final_stats=1) || exit 1; \
	done

soak: fsx stress ## fsx on ten seeds, stressors, long archives, races, memory, kills, power cuts, then the tests again and again for SOAK_SECONDS
	$(CARGO) test --release --locked -p reelfs --test tape streaming -- --ignored --nocapture
	REELFS_RACE_OPERATIONS=$(RACE_OPERATIONS) $(CARGO) test --release --locked -p reelfs --test live race -- --nocapture
	REELFS_MEMORY_FILES=$(MEMORY_FILES) $(CARGO) test --release --locked -p tools --test cli memory::memory_does_not -- \
	    --nocapture --ignored
	REELFS_KILL_ROUNDS=$(KILL_ROUNDS) $(CARGO) test --release --locked -p mountd --test mount -- --nocapture \
	    staging::random_kills
	REELFS_POWER_CUTS=$(POWER_CUTS) $(CARGO) test --release --locked -p tools --test powercut -- --nocapture
	REELFS_THRASH_ROUNDS=$(THRASH_ROUNDS) $(CARGO) test --release --locked -p tools --test cli -- --nocapture thrash
	@end=$$(($$(date +%s) + $(SOAK_SECONDS))); rounds=0; \
	while [ "$$(date +%s)" -lt "$$end" ]; do \
	    $(CARGO) test --release --workspace --locked --quiet || exit 1; \
	    rounds=$$((rounds + 1)); echo "soak: $$rounds rounds without a failure"; \
	done

# Pages of section 1 and completions are written by the command itself.
install: ## install binaries, manual pages and completions below DESTDIR/PREFIX
	@test -x "$(RELEASE)/reelfs" || { echo "make install: run 'make build' first" >&2; exit 1; }
	install -d "$(DESTDIR)$(PREFIX)/bin" "$(DESTDIR)$(PREFIX)/share/man/man5"
	install -m 755 "$(RELEASE)/reelfs" "$(RELEASE)/vtape" "$(DESTDIR)$(PREFIX)/bin/"
	if test -x "$(RELEASE)/mountd"; then \
	    install -m 755 "$(RELEASE)/mountd" "$(DESTDIR)$(PREFIX)/bin/reelfs-mountd"; \
	fi
	install -m 755 tools/reader/reelfs_reader.py "$(DESTDIR)$(PREFIX)/bin/reelfs-reader"
	install -d "$(DESTDIR)$(PREFIX)/share/man/man1"
	install -m 644 man/vtape.1 "$(DESTDIR)$(PREFIX)/share/man/man1/"
	install -m 644 man/*.5 "$(DESTDIR)$(PREFIX)/share/man/man5/"
	install -d "$(DESTDIR)$(PREFIX)/share/man/man7"
	install -m 644 man/*.7 "$(DESTDIR)$(PREFIX)/share/man/man7/"
	install -d "$(DESTDIR)$(PREFIX)/share/man/man8"
	install -m 644 man/*.8 "$(DESTDIR)$(PREFIX)/share/man/man8/"
	RELEASE="$(RELEASE)" DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" tools/install/generated

clean: ## remove what was built
	$(CARGO) clean
	rm -rf fuzz/corpus fuzz/artifacts fuzz/coverage
