# Needs python3 (3.11 or newer, with venv), git and make. Nothing here needs root.
#
#   make setup    .venv with the locked packages and `proctor`; PYTHON=python3.12 names another interpreter
#   make demo     runs five short episodes and prints their verdicts
#   make test     the tests, about eight minutes on two cores
#   make test-unprivileged    as root: the same as an unprivileged user
#   make test-kernels   live tests on Debian's kernel 6.1, emulated (over an hour); KERNEL=PACKAGE for another one
#   make lint types layers format lock wheel
#   make bpf      builds the BPF object anew (clang 14, llvm 14, libbpf-dev: Debian 12's); bpf-check compares

.DEFAULT_GOAL := setup
.PHONY: setup demo test test-unprivileged test-kernels lint types layers format lock wheel bpf bpf-check

# A .venv that is ready is kept, unless PYTHON names another version.
ifeq ($(origin PYTHON),undefined)
PYTHON := python3
READY := $(firstword $(wildcard .venv/.ready-*))
else
READY :=
endif
ifeq ($(READY),)
READY := .venv/.ready-$(shell $(PYTHON) -c 'import sys; print(sys.implementation.cache_tag)')
endif

BIN := .venv/bin
# Live tests mostly wait: three at a time take two thirds of the time of one by one on two cores.
LIVE := -n 3 --dist worksteal -m live
UNPRIVILEGED := $(BIN)/python -m tests.live.unprivileged --
# The lock alone decides what is installed: a machine's constraints, or its wish to install elsewhere, would change it.
PIP := PIP_CONSTRAINT=/dev/null PIP_USER=0 $(BIN)/python -m pip --disable-pip-version-check --quiet install --no-deps
unexport PIP_PREFIX PIP_PYTHON PIP_ROOT PIP_TARGET PYTHONHOME PYTHONPATH
# What tests build with make is built as if by hand.
unexport MAKEFLAGS MAKELEVEL MFLAGS

setup: $(READY)

$(READY): pyproject.toml requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "make setup: $$($(PYTHON) -V) is too old; name one of 3.11 or newer: make setup PYTHON=..." >&2; exit 1; }
	@echo "Setting up .venv with $$($(PYTHON) -V)"
	@$(PYTHON) -m venv $(if $(wildcard $(READY)),,--clear) .venv
	@$(PIP) --require-hashes --requirement requirements/dev.txt
	@$(PIP) --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q src
	@touch $@

demo: $(READY)
	@$(BIN)/python examples/demo/run.py

test: $(READY)
	$(BIN)/pytest -n auto -m "not live"
	$(BIN)/pytest $(LIVE)

test-unprivileged: $(READY)
	@[ "$$(id -u)" = 0 ] || { echo "make test-unprivileged: only root can become somebody else; make test is it" >&2; exit 1; }
	$(UNPRIVILEGED) $(BIN)/pytest -p no:cacheprovider -n auto -m "not live"
	$(UNPRIVILEGED) $(BIN)/pytest -p no:cacheprovider $(LIVE)

# A package's name (linux-image-6.12-amd64) or file, or the folder of an unpacked one; USERS=root, TESTS='...' for pytest.
KERNEL := linux-image-amd64
USERS := root,unprivileged
test-kernels: $(READY)
	$(BIN)/python -m tests.kernels.run --kernel "$(KERNEL)" --as "$(USERS)" -- $(TESTS)

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(READY)
	$(BIN)/mypy

layers: $(READY)
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# requirements/dev.txt must stay free of addresses: it is installed from whatever index the reader uses.
lock:
	$(PYTHON) -m venv --clear .venv/lock
	.venv/lock/bin/python -m pip --disable-pip-version-check --quiet install pip-tools
	CUSTOM_COMPILE_COMMAND="make lock" .venv/lock/bin/pip-compile --quiet --upgrade --generate-hashes --strip-extras \
	    --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --annotation-style=line \
	    --output-file requirements/dev.txt pyproject.toml requirements/dev.in
	rm -r .venv/lock

wheel: $(READY)
	$(BIN)/hatchling build --target wheel

# The object is committed, so that nobody who loads it needs a compiler. Its bytes depend on the compiler's version.
BPF := src/proctor/sensors/bpf
CLANG := clang-14
STRIP := llvm-strip-14
define build_bpf
cd $(BPF) && $(CLANG) --target=bpf -mcpu=v3 -g -O2 -Wall -Werror -D__TARGET_ARCH_x86 -fdebug-compilation-dir=. \
    -fno-addrsig -c sensor.bpf.c -o $(1)
$(STRIP) --strip-debug --remove-section=.rel.BTF --remove-section=.rel.BTF.ext $(2)
endef

bpf:
	$(call build_bpf,sensor.bpf.o,$(BPF)/sensor.bpf.o)
	cd $(BPF) && sha256sum kernel.h sensor.bpf.c sensor.bpf.o > SHA256SUMS

bpf-check:
	@built=$$(mktemp -d) && trap 'rm -r "$$built"' EXIT && cp $(BPF)/*.[ch] "$$built" && \
	    $(MAKE) --no-print-directory bpf BPF="$$built" && cmp "$$built/sensor.bpf.o" $(BPF)/sensor.bpf.o && \
	    echo "the BPF object is what its source gives"
