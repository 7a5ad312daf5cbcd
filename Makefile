.PHONY: check test coverage lint types sample screenshots docs

check: lint types test

test:
	pytest -n auto

coverage:
	pytest --cov --cov-report=term-missing

lint:
	ruff format --check
	ruff check

types:
	mypy

sample:
	python samples/make.py

screenshots:
	TIEM_SCREENSHOTS=docs/screenshots pytest tests/browser -k screenshots

docs:
	sphinx-build --fail-on-warning --keep-going docs build/site
