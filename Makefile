# Two commands: `make serve` answers on 127.0.0.1:8080, `make test` proves it.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
HOME_DIR ?= var
PACKAGES := responders ocsp tsa ca_store issuance

.PHONY: serve test check bench bench-lag bench-nginx bench-scale fuzz soak chaos format programs clean
.DEFAULT_GOAL := serve

serve: $(VENV)/.serves
	@test -f $(HOME_DIR)/responders.toml || $(BIN)/issuance init --demo --home $(HOME_DIR)
	@nice $(BIN)/issuance run --home $(HOME_DIR) & timers=$$!; \
	trap 'kill $$timers 2>/dev/null' EXIT; trap 'kill $$server 2>/dev/null' INT TERM; \
	$(BIN)/responders serve --home $(HOME_DIR) & server=$$!; \
	while ! wait $$server; do kill -0 $$server 2>/dev/null || break; done

test: programs check
	$(BIN)/pytest -n 2 --dist loadfile --cov --cov-report=term:skip-covered $(PYTEST_ARGS)

check: $(VENV)/.tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.tests
	@bash tests/programs.sh wrk cfssl ab nginx
	$(BIN)/python bench/table.py $(BENCH_ARGS)

bench-scale: $(VENV)/.tests
	@bash tests/programs.sh wrk postgres
	$(BIN)/python bench/scale.py $(BENCH_ARGS)

bench-lag: $(VENV)/.tests
	@bash tests/programs.sh postgres
	PYTHONPATH=.:tests $(BIN)/python bench/revocation_lag.py $(BENCH_ARGS)

bench-nginx: $(VENV)/.tests
	@bash tests/programs.sh nginx wrk
	PYTHONPATH=.:tests $(BIN)/python bench/nginx_front.py $(BENCH_ARGS)

# The long runs: docs/deployment.md says what each does. `make fuzz FUZZ_ARGS="--runs 10000"`, and so on.
fuzz: $(VENV)/.tests
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -c constraints.txt -e '.[fuzz]'
	$(BIN)/python tests/fuzz.py $(FUZZ_ARGS)

soak: $(VENV)/.tests
	PYTHONPATH=bench $(BIN)/python tests/soak.py $(SOAK_ARGS)

chaos: $(VENV)/.tests
	@bash tests/programs.sh faketime postgres
	$(BIN)/python tests/chaos.py $(CHAOS_ARGS)

format: $(VENV)/.tests
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The programs that no one here wrote: installed when this runs as root on Debian, named when they are missing.
programs:
	@bash tests/programs.sh openssl ocsptool jarsigner osslsigncode postgres promtool prometheus systemd-analyze nginx varnishd \
		apache2 haproxy curl vfychain gpgsm gpg-agent dirmngr slapd tomcat10 chronyd faketime go gcab wixl \
		apksigner named

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
		|| { rm -rf $(VENV); echo "no virtual environment could be made: on Debian, install python3-venv" >&2; exit 1; }

$(VENV)/.serves: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt setuptools
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -c constraints.txt -e '.[lint]'
	@touch $@

$(VENV)/.tests: pyproject.toml constraints.txt $(VENV)/.serves
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*
