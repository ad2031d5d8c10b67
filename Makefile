# make run     a demonstration server with sample mail, on this machine only
# make test    everything that a change must pass; installs what it needs
# make check   linters and types
# make bench    imapd beside Dovecot, a few minutes; make bench-full is the whole table (tests/bench/RESULTS.md)
# make bench-plot   a picture of the last full run (tests/bench/results.svg)
# make bench-cyrus  imapd beside Cyrus at some workloads, six minutes; installs what it needs
# make bench-directories  logins a second, and how long others wait while one works hard or a directory hangs
# make fuzz    ten minutes of fuzzing of what reads bytes from strangers
# make hostile  a million hostile names typed at the filters of directories
# make faults   killed processes, power cuts, refusing disks, damage, other programs: hours (as root)
# make docs    prints conf/imapd.ini and man/imapd.ini.5 anew from the settings table
# make clean   removes what the others made

PYTHON ?= python3
VENV = .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/installed
FUZZ_SECONDS ?= 200
KILLS ?= 5000
CUTS ?= 3000
FLIPS ?= 10000
DELIVERY_SECONDS ?= 600
CALLS ?= 1.0

.PHONY: run test quick check bench bench-full bench-plot bench-cyrus bench-directories fuzz hostile faults docs clean

run: $(STAMP)
	@exec $(BIN)/imapd demo

test: $(STAMP)-test tests/debian-packages
	tests/install-debian-packages
	$(BIN)/python -m pytest -q $(PYTEST_ARGS)

# The tests that need no Debian packages: what one runs between two edits.
quick: $(STAMP)-test
	$(BIN)/python -m pytest -q -x --ignore tests/clients $(PYTEST_ARGS)

check: $(STAMP)-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)-test
	tests/install-debian-packages
	$(BIN)/python -m tests.bench

bench-full: $(STAMP)-test
	tests/install-debian-packages
	$(BIN)/python -m tests.bench --full --write

bench-plot: $(STAMP)-test
	$(BIN)/python -m tests.bench.plot

# BENCH_ARGS=--add puts it into tests/bench/RESULTS.md.
bench-cyrus: $(STAMP)-test
	tests/install-debian-packages
	tests/install-debian-packages bench/debian-packages
	$(BIN)/python -m tests.bench --only 'cyrus-*' --messages 1000 10000 100000 --seconds 3000 $(BENCH_ARGS)

bench-directories: $(STAMP)-test
	$(BIN)/python -m tests.bench.fairness
	$(BIN)/python -m tests.bench.outage
	$(BIN)/python -m tests.bench.logins

fuzz: $(STAMP)-test
	$(BIN)/python tests/fuzz/fuzz_wire.py --seconds $(FUZZ_SECONDS)
	$(BIN)/python tests/fuzz/fuzz_mime.py --seconds $(FUZZ_SECONDS)
	$(BIN)/python tests/fuzz/fuzz_mbox.py --seconds $(FUZZ_SECONDS)

hostile: $(STAMP)-test
	$(BIN)/python tests/fuzz/hostile_names.py --names 1000000

# Each goes on where another one failed; the last line of each says what it found.
faults: $(STAMP)-test
	tests/install-debian-packages
	@status=0; \
	$(BIN)/python -m tests.faults.kills --cycles $(KILLS) --format maildir || status=1; \
	$(BIN)/python -m tests.faults.kills --cycles $(KILLS) --format mbox || status=1; \
	$(BIN)/python -m tests.faults.powercuts --cycles $(CUTS) --format maildir || status=1; \
	$(BIN)/python -m tests.faults.powercuts --cycles $(CUTS) --format mbox || status=1; \
	$(BIN)/python -m tests.faults.failingcalls --share $(CALLS) --format maildir || status=1; \
	$(BIN)/python -m tests.faults.failingcalls --share $(CALLS) --format mbox || status=1; \
	$(BIN)/python -m tests.faults.rebuilding || status=1; \
	$(BIN)/python -m tests.faults.index --flips $(FLIPS) --format maildir || status=1; \
	$(BIN)/python -m tests.faults.index --flips $(FLIPS) --format mbox || status=1; \
	$(BIN)/python -m tests.faults.deliveries --seconds $(DELIVERY_SECONDS) --format maildir || status=1; \
	$(BIN)/python -m tests.faults.deliveries --seconds $(DELIVERY_SECONDS) --format mbox || status=1; \
	$(BIN)/python -m tests.faults.deliveries --seconds $(DELIVERY_SECONDS) --format mbox --agent procmail || status=1; \
	exit $$status

docs: $(STAMP)
	$(BIN)/imapd config > conf/imapd.ini
	$(BIN)/imapd config --man > man/imapd.ini.5

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis demo

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("imapd needs Python 3.11 or newer; this is %d.%d. Say: make PYTHON=python3.11 ..." % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "No virtual environment could be made: on Debian, apt-get install python3-venv" >&2; exit 1; }

$(STAMP): setup.py pyproject.toml $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e .
	@touch $@

$(STAMP)-test: $(STAMP)
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[test]'
	@touch $@

$(STAMP)-check: $(STAMP)
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[check]'
	@touch $@
