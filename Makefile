# The same commands as .ci/run, one by one, in the environment that is active.
.PHONY: help setup lint format type test quick results docs lowest lock audit secrets

export OMP_WAIT_POLICY = PASSIVE

help:  ## what there is
	@grep -E "^[a-z]+:.*##" $(MAKEFILE_LIST) | sed -E "s/:.*## /\t/"

setup:  ## install the project and its tools
	python -m pip install -e ".[dev]"

lint:  ## look for mistakes and for files that are not formatted
	ruff check
	ruff format --check
	pydoclint --quiet longtake networks datamodules lightning_modules

format:  ## mend what lint finds, where that is safe
	ruff check --fix
	ruff format

type:  ## check types
	mypy

test:  ## run the tests
	pytest

quick:  ## run the quick tests alone
	pytest -m "not slow"

results:  ## write docs/results and the README's tables anew from benchmarks/results
	python docs/tools/results.py

docs:  ## build the documentation into build/site; a link that leads nowhere is an error; needs pip install -e ".[docs]"
	python docs/tools/site.py build/site_source
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet

lowest:  ## make an environment of the lowest versions that are allowed, in .venv-lowest, and run the tests there
	.ci/install_lowest .venv-lowest
	.venv-lowest/bin/python -m pytest

lock:  ## write requirements.lock: the versions that the newest release of each library gives, with hashes
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	  --output-file requirements.lock

audit:  ## look for known holes in the locked versions
	pip-audit --requirement requirements.lock --disable-pip

secrets:  ## list what looks like a secret in the files that git knows: only made-up ones of tests, and hashes; needs detect-secrets
	detect-secrets scan
