# Everything here sets itself up: Python 3.11+ and pip are enough. A second call finds its stamp and starts at once.
PYTHON ?=

.PHONY: demo test check docs accuracy clean

demo: .venv/.hasten-run ## a plan for two models on a real trace
	.venv/bin/python scripts/demo.py

test: .venv/.hasten-dev ## the whole test suite, a minute or two
	.venv/bin/python -m pytest -n auto $(PYTEST_ARGS)

check: .venv/.hasten-dev ## what CI runs
	scripts/check

docs: .venv/.hasten-dev ## execute every code block of the README and docs/
	.venv/bin/python scripts/docs.py

accuracy: .venv/.hasten-dev ## measure every prediction again: all tables and plots of docs/accuracy*.md and of calibration (an hour)
	.venv/bin/python scripts/accuracy_table.py --points
	.venv/bin/python scripts/device_table.py --all
	.venv/bin/python scripts/calibration_table.py
	.venv/bin/python scripts/step_time_table.py

.venv/.hasten-run: pyproject.toml scripts/setup
	@PYTHON="$(PYTHON)" scripts/setup .
	@touch $@

.venv/.hasten-dev: pyproject.toml scripts/setup
	@PYTHON="$(PYTHON)" scripts/setup '.[dev]' '.[engine,reference]'
	@touch $@ .venv/.hasten-run

clean: ## forget the environment and every cache
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
