# On a bare Debian machine, as root, each target sets up what it needs; the second time that takes a moment.

VENV := .venv
BIN := $(VENV)/bin
KERNELS := 6.1 6.12 7.3
DEFAULT_KERNEL := 6.12
WORKLOAD := for i in 1 2 3; do ls -lR /etc | cat >/dev/null; cat /proc/meminfo /proc/stat; done >/dev/null

.PHONY: setup try test unit lint vm bench soak docs clean

setup: $(VENV)/.installed kernels

# The stamp is renewed when the project file changes, and when the Python behind the environment is gone.
$(VENV)/.installed: pyproject.toml $(if $(shell $(BIN)/python -c 'import multiprobe' 2>&1),FORCE)
	python=$$(tools/system-packages) && \
	{ $(BIN)/python -c 'import pip' 2>/dev/null || "$$python" -m venv --clear $(VENV); } && \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --root-user-action=ignore -e '.[dev,inspect]'
	touch $@

.PHONY: FORCE kernels
FORCE:

kernels: $(VENV)/.installed
	@tools/system-packages >/dev/null
	@$(BIN)/multiprobe vm --fetch $(KERNELS:%=--kernel %) >/dev/null

# Boots a kernel, attaches to every function that it lets us, runs a workload, and prints what ran.
try: setup
	$(BIN)/multiprobe count '*' --vm=$(DEFAULT_KERNEL) --top 20 -- sh -c '$(WORKLOAD)'

test: setup
	$(BIN)/python tests/run.py $(KERNELS)

# Only what needs neither root nor a kernel.
unit: $(VENV)/.installed
	$(BIN)/python -m pytest tests/unit tests/properties

lint: $(VENV)/.installed
	$(BIN)/ruff check src tests bench examples
	$(BIN)/ruff format --check src tests bench examples
	$(BIN)/mypy

# A shell in a guest: make vm KERNEL=7.3
vm: setup
	$(BIN)/multiprobe vm --kernel $(or $(KERNEL),$(DEFAULT_KERNEL))

bench: setup
	$(BIN)/multiprobe vm --kernel $(or $(KERNEL),$(DEFAULT_KERNEL)) -- $(abspath $(BIN)/python) bench/startup.py
	$(BIN)/multiprobe vm --kernel $(or $(KERNEL),$(DEFAULT_KERNEL)) -- $(abspath $(BIN)/python) bench/attach.py
	$(BIN)/multiprobe vm --kernel 7.3 -- $(abspath $(BIN)/python) bench/trampolines.py --kprobes 0 --trampolines 0
	$(BIN)/multiprobe vm --kernel 6.12 -- $(abspath $(BIN)/python) bench/trampolines.py --runs 0
	$(BIN)/multiprobe vm --kernel 7.3 --icount -- $(abspath $(BIN)/python) bench/costs.py
	$(BIN)/multiprobe vm --icount --kernel $(or $(KERNEL),$(DEFAULT_KERNEL)) -- $(abspath $(BIN)/python) bench/hits.py

# Hundreds of random mixes of attachments on each kernel, for as long as it takes: make soak SCENARIOS=300
soak: setup
	for kernel in $(KERNELS); do \
		$(BIN)/multiprobe vm --kernel $$kernel -- env MULTIPROBE_SCENARIOS=$(or $(SCENARIOS),300) MULTIPROBE_TEST_SECONDS=20000 \
			$(abspath $(BIN)/python) -m pytest -p no:cacheprovider tests/kernel/test_mixing.py || exit 1; \
	done

# The pages are Markdown; this checks their links and blocks, and that every block runs.
docs: setup
	$(BIN)/python -m pytest tests/unit/test_docs_parse.py
	$(BIN)/multiprobe vm --kernel $(DEFAULT_KERNEL) -- $(abspath $(BIN)/python) -m pytest -p no:cacheprovider tests/kernel/test_docs.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
