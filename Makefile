# The same commands as .ci/run, one by one, in the environment that is active.
.PHONY: help setup lint format type test

export OMP_WAIT_POLICY = PASSIVE

help:  ## what there is
	@grep -E "^[a-z]+:.*##" $(MAKEFILE_LIST) | sed -E "s/:.*## /\t/"

setup:  ## install the project and its tools
	python -m pip install -e ".[dev]"

lint:  ## look for mistakes and for files that are not formatted
	ruff check
	ruff format --check

format:  ## mend what lint finds, where that is safe
	ruff check --fix
	ruff format

type:  ## check types
	mypy

test:  ## run the tests
	pytest
