# Every command a user or a developer needs. Only relative paths, so that a checkout may
# lie in a folder with blanks in its name. `make help` lists them.
#
#   PYTHON=...     the interpreter for .venv            NO_INSTALL=1   install no system packages
#   ARGS="..."     arguments for run, demo and bench    SUDO=          never use sudo to run things

SHELL = /bin/sh
MAKEFLAGS += --no-print-directory
SUDO ?= sudo
export ARGS NO_INSTALL PYTHON REQUIRE SUDO

.PHONY: help setup run demo test interop bench bench-carriers lock clean
.DEFAULT_GOAL := help

help:
	@echo "make setup    system packages and .venv with the commands gateway and gateway-ctl"
	@echo "make run      that, then the gateway on this host: the recipe's server, or ARGS=\"...\""
	@echo "make demo     that, then a server and three clients in network namespaces"
	@echo "make test     every check, on every Python found"
	@echo "make interop  the tests against a live stock GOST (gost must be on the PATH)"
	@echo "make bench    the figures, as JSON; make bench-carriers those of every carrier"
	@echo "make lock     write requirements/lock.txt anew"
	@echo "make clean    remove everything these commands made here"

setup:
	@tools/setup.sh

run: setup
	@exec .venv/bin/python -B tools/launch.py run

demo: setup
	@exec .venv/bin/python -B tools/launch.py demo

bench: setup
	@exec .venv/bin/python -B tools/launch.py bench

bench-carriers: setup
	@exec .venv/bin/python -B tools/launch.py carriers

test:
	@tools/setup.sh --test
	@exec .venv/tools/bin/python -B tools/matrix.py

interop:
	@tools/setup.sh --test
	@REQUIRE="$(REQUIRE) gost" exec .venv/tools/bin/python -B tools/matrix.py interop

lock:
	@tools/setup.sh
	@exec .venv/bin/python -B tools/lock.py

clean:
	@rm -rf .venv .tox build dist *.egg-info
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find gateway tests bench tools -depth -name __pycache__ -exec rm -rf {} +
	@rm -f gateway/fastpath/*.c gateway/fastpath/*.so
