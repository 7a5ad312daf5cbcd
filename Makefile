.PHONY: check test coverage lint types sample screenshots

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
