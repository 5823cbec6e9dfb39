# On a bare Debian machine, as root, each target sets up what it needs; the second time that takes a moment.
# `unit`, `lint` and `api` need neither root nor QEMU: a Python 3.11 or newer with venv, and the package index.

VENV := .venv
BIN := $(VENV)/bin
KERNELS := 6.1 6.12 7.3
ALL_KERNELS := 6.1 6.12 6.12-rt 6.18 7.2 7.3 7.3-generic
DEFAULT_KERNEL := 6.12
BENCH_KERNELS := 6.12 7.3
WORKLOAD := for i in 1 2 3; do ls -lR /etc | cat >/dev/null; cat /proc/meminfo /proc/stat; done >/dev/null

.PHONY: setup try test vm-all kernel-test unit user faults crashes rights fuzz lint api pages vm bench bench-cpus soak docs clean site deb pictures

setup: kernels

# The stamp is renewed when the project or its pins change, and when the Python behind the environment is gone. (make itself
# prints what a shell says that ends with status 127.)
$(VENV)/.installed: pyproject.toml tools/constraints.txt $(if $(shell $(BIN)/python -c 'import multiprobe' 2>&1 || echo gone),FORCE)
	@{ $(BIN)/python -c 'import pip'; } 2>/dev/null || { python=$$(tools/find-python) && "$$python" -m venv --clear $(VENV); }
	@tools/quietly "installing multiprobe and the tools of its tests in $(VENV)" $(BIN)/python -m pip install \
		--disable-pip-version-check --root-user-action=ignore --progress-bar off -c tools/constraints.txt -e '.[dev,inspect]'
	@touch $@

.PHONY: FORCE system kernels
FORCE:

system:
	@tools/system-packages >/dev/null

# `system` first: on a bare machine it installs the Python that the environment is made with.
kernels: system
	@$(MAKE) --no-print-directory $(VENV)/.installed
	@$(BIN)/multiprobe vm --fetch $(KERNELS:%=--kernel %) >/dev/null

# Counts the functions of a program on this machine. Then boots a kernel, attaches to every function that it lets us, runs a
# workload, and prints what ran. Fetches that kernel alone.
try: system
	@$(MAKE) --no-print-directory $(VENV)/.installed
	@tools/try-user-space
	$(BIN)/multiprobe count '*' --vm=$(DEFAULT_KERNEL) --top 20 -- sh -c '$(WORKLOAD)'

test: setup
	$(BIN)/python tests/run.py $(KERNELS)

# The kernel tests on every series that Debian's archive has with modules; writes docs/support.md. Takes hours.
vm-all: setup
	$(BIN)/python tests/run.py --kernels-only --reports build/reports $(ALL_KERNELS); \
		status=$$?; $(BIN)/python tests/support.py build/reports && exit $$status

# Kernel tests by file and pytest's options: make kernel-test KERNEL=6.12 T='test_attach.py -k cookies'
kernel-test: setup
	$(BIN)/multiprobe vm --kernel $(or $(KERNEL),$(DEFAULT_KERNEL)) -- $(abspath $(BIN)/python) -m pytest \
		-p no:cacheprovider -p no:hypothesispytest tests/kernel/$(T)

# Only what needs neither root nor a kernel.
unit: $(VENV)/.installed
	$(BIN)/python -m pytest tests/unit tests/properties

# Attaches to functions of programs that the tests compile, on the kernel of this machine; as root, or skips.
user: $(VENV)/.installed
	$(BIN)/python -m pytest tests/user

lint: $(VENV)/.installed
	$(BIN)/ruff check src tests bench examples
	$(BIN)/ruff format --check src tests bench examples
	$(BIN)/mypy

# Writes the golden file of the public API anew, after a change that was meant.
api: $(VENV)/.installed
	$(BIN)/python tests/public_api.py

# Writes man pages and completions (share/) anew, after a change of options.
pages: $(VENV)/.installed
	$(BIN)/python tools/generate-pages

# Every operation and command on a fake kernel, with system calls failing in every way that they may: every fourth
# of these faults, or all of them, which takes ten minutes or more: make faults EVERY=1
faults: $(VENV)/.installed
	$(BIN)/python tests/faults.py --every $(or $(EVERY),4)

# Commands killed, stopped and starved at random moments in a guest: make crashes TRIALS=500 KERNEL=7.3 SEED=1
crashes: setup
	$(BIN)/multiprobe vm --kernel $(or $(KERNEL),$(DEFAULT_KERNEL)) -- $(abspath $(BIN)/python) tests/kernel/crashes.py \
		--trials $(or $(TRIALS),500) $(SEED:%=--seed %)

# Users and settings that the kernel says no to, without lockdown and booted with either level: make rights KERNEL=7.3
rights: setup
	$(BIN)/python tests/kernel/rights.py --kernel $(or $(KERNEL),$(DEFAULT_KERNEL))

# Hostile input for everything that parses; what is found goes to tests/corpus: make fuzz MINUTES=10 SEED=1
fuzz: $(VENV)/.installed
	$(BIN)/python tests/fuzz.py --minutes $(or $(MINUTES),60) $(SEED:%=--seed %)

# A shell in a guest: make vm KERNEL=7.3
vm: setup
	$(BIN)/multiprobe vm --kernel $(or $(KERNEL),$(DEFAULT_KERNEL))

# What things cost, beside the peers that are installed here (apt-get install bpftrace trace-cmd libbpf-dev): bench/results, the
# pictures of it, and how many of the figures are those of before. Some 50 minutes on two idle cores; other work on the machine shows
# in all but the ratios, the instructions and the memory. Results stay as they were until all is measured.
# Beside several bpftraces, ratios to the first: make bench BPFTRACE="/opt/bpftrace/bin/bpftrace /usr/bin/bpftrace"
BENCH = $(abspath $(BIN))/multiprobe bench --json $(BPFTRACE:%=--bpftrace %)
# What is timed differs from guest to guest, by more than from run to run: two runs in each of three, one guest after another.
TIMED = $(BENCH) --runs 2 start events 'tcp_*' && $(BENCH) --runs 2 attach
bench: setup
	@tools/quietly "installing matplotlib in $(VENV)" $(BIN)/python -m pip install --disable-pip-version-check \
		--root-user-action=ignore --progress-bar off -c tools/constraints.txt -e '.[pictures]'
	@mkdir -p bench/results
	@rm -rf build/bench && mkdir -p build/bench && cp -r bench/results build/bench/before
	for guest in 1 2 3; do for kernel in $(BENCH_KERNELS); do \
		$(BIN)/multiprobe vm --kernel $$kernel -- sh -c "$(TIMED)" >>build/bench/$$kernel.jsonl || exit 1; \
	done; done
	$(BIN)/python bench/startup.py --native --runs 15
	$(MAKE) --no-print-directory -j2 $(foreach kernel,$(BENCH_KERNELS),bench-hit-$(kernel) bench-memory-$(kernel))
	for kernel in $(BENCH_KERNELS); do cat build/bench/hit-$$kernel build/bench/memory-$$kernel >>build/bench/$$kernel.jsonl; done
	mv build/bench/*.jsonl bench/results
	$(BIN)/python bench/results.py
	$(BIN)/python bench/reproduced.py build/bench/before

bench-hit-%:
	$(BIN)/multiprobe vm --kernel $* --icount -- $(BENCH) hit >build/bench/hit-$*

bench-memory-%:
	$(BIN)/multiprobe vm --kernel $* -- $(BENCH) memory --runs 1 >build/bench/memory-$*

# Commands on all functions with many CPUs: the memory that they take, and whether counts are right: make bench-cpus CPUS=64
bench-cpus: setup
	for kernel in $(BENCH_KERNELS); do \
		$(BIN)/multiprobe vm --kernel $$kernel --cpus $(or $(CPUS),32) --memory 4096 -- $(abspath $(BIN)/python) \
			$(abspath bench/many_cpus.py) --max-memory 0.6 || exit 1; \
	done

# Hundreds of random mixes of attachments on each kernel, of functions of programs too, for as long as it takes: make soak SCENARIOS=300
# All functions counted for minutes, attached again and again, watching memory: make soak MINUTES=30 KERNEL=7.3
soak: setup
ifdef MINUTES
	$(BIN)/multiprobe vm --kernel $(or $(KERNEL),$(DEFAULT_KERNEL)) -- $(abspath $(BIN)/python) tests/kernel/soak.py \
		--minutes $(MINUTES)
else
	for kernel in $(KERNELS); do \
		$(BIN)/multiprobe vm --kernel $$kernel -- env MULTIPROBE_SCENARIOS=$(or $(SCENARIOS),300) MULTIPROBE_TEST_SECONDS=20000 \
			$(abspath $(BIN)/python) -m pytest -p no:cacheprovider tests/kernel/test_mixing.py tests/user/test_user_mixing.py || exit 1; \
	done
endif

# The pictures of README and docs (docs/pictures), from runs in two guests.
pictures: setup
	@tools/quietly "installing matplotlib in $(VENV)" $(BIN)/python -m pip install --disable-pip-version-check \
		--root-user-action=ignore --progress-bar off -c tools/constraints.txt -e '.[pictures]'
	@mkdir -p build/pictures
	for kernel in 6.12 7.3; do \
		$(BIN)/multiprobe vm --kernel $$kernel --share $(abspath build/pictures) -- $(abspath $(BIN)/python) \
			tools/pictures.py record $(abspath build/pictures) || exit 1; \
	done
	$(BIN)/python tools/pictures.py draw build/pictures docs/pictures

# build/multiprobe_VERSION_ARCHITECTURE.deb, for the Debian that this runs on.
deb: system
	@tools/quietly "building a package in build" tools/make-deb build
	@ls build/*.deb

# The pages as a site, in build/site; a warning is an error.
site: $(VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

# Builds the site, checks links and blocks of the pages, and runs every block.
docs: setup site
	$(BIN)/python -m pytest tests/unit/test_docs_parse.py
	$(BIN)/multiprobe vm --kernel $(DEFAULT_KERNEL) -- $(abspath $(BIN)/python) -m pytest -p no:cacheprovider tests/kernel/test_docs.py

clean:
	rm -rf $(VENV) $(VENV)-3.* build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
