.PHONY: check test lint types sample

check: lint types test

test:
	pytest

lint:
	ruff format --check
	ruff check

types:
	mypy

sample:
	python samples/make.py
