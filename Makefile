# Needs python3 >= 3.11, git and make. Each target makes the virtual environment if it is missing.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
unexport VIRTUAL_ENV
# Without bytecode every process compiles all that it imports, which takes longer than running it.
unexport PYTHONDONTWRITEBYTECODE
export UV_SYSTEM_CERTS := true
# CPU builds of torch come from local wheels if pip is configured with some, else from PyTorch's own CPU index.
ifdef PIP_FIND_LINKS
export UV_FIND_LINKS := $(PIP_FIND_LINKS)
else
export UV_TORCH_BACKEND := cpu
endif

PACKAGE := --constraint constraints.txt --editable '.[dev]'

.PHONY: help docs params install run airflow test test-core test-pages test-slow test-spark mutants kills simulate evidence defects bench quality warranty drifts month wheel lint house clean
help:            ## list the targets
	@sed -n 's/^\([a-z-]*:\)[^#]*## /\1	/p' Makefile

install: $(READY) ## make the virtual environment

run: $(READY)    ## the main job on real data: every stage of dvc.yaml, then promotion and reports/report.html
	dvc repro && din promote

airflow: $(READY) ## the main job in Airflow's scheduler, with its UI on http://127.0.0.1:8080
	python -m dags.standalone

TWO_CORES := -n 2 --dist loadscope --no-loadscope-reorder
test: $(READY)   ## the test suite, on two cores
	pytest $(TWO_CORES)

test-core: $(READY) ## the tests of the core, the package `din`, on two cores
	pytest $(TWO_CORES) tests/din

test-pages: $(READY) ## the report and the documentation in headless Chromium (apt install chromium)
	uv pip install --quiet --constraint constraints.txt 'playwright>=1.50,<2'
	pytest -m slow -rs -n 2 --dist load tests/din_report/test_browser.py

test-slow: $(READY) ## hours, on two cores: whole pipelines, kills, planted defects, long fuzzing; SHARD= runs a part of tests/shards.py
	pytest -m "slow or hypothesis" --hypothesis-profile=new $(TWO_CORES) $(SHARD:%=--shard=%)

test-spark: $(READY) ## the second engine, on Spark and on Sail; needs a Java 17 or 21 runtime
	java -version
	uv pip install --quiet --constraint constraints.txt --editable '.[spark]' pysail
	$(MAKE) test-slow SHARD=spark

mutants: $(READY) ## change the guard line by line, two at a time, and demand that a test fails; ARGS="parity" runs the rows with this word
	python -m tests.mutants $(ARGS)

KILLS ?= 50
kills: $(READY)  ## kill `dvc repro` at KILLS random moments of training, and compare the bits of each rerun
	KILLS=$(KILLS) pytest tests/pipeline/test_pipeline.py -m slow -k killed_in_training -s

HISTORIES ?= 100000
simulate: $(READY) ## play HISTORIES histories and find every planted bug, on JOBS processes
	HISTORIES=$(HISTORIES) pytest tests/din/release/registry/test_simulated_histories.py -m "" -n $(JOBS)

params: $(READY) ## write params.yaml and its schema from the defaults in din/params and a recipe
	python -m din_start.params

evidence: $(READY) ## every generated table, in an hour on two cores; DATA= prepared logs; ARGS="--only NAME …" or --full
	python -m benchmarks.evidence $(DATA:%=--data %) $(ARGS)

defects: $(READY) ## run the planted defects and sound variants of benchmarks/defects (ARGS=--full: all); writes docs/defects.md
	python -m benchmarks.defects.page $(ARGS)

bench: $(READY)  ## speed and memory beside the peers, in .bench/; for a quick look: ARGS="--rows 5000 --repeats 1 --cores 1"
	python -m benchmarks $(ARGS)

JOBS ?= 1
quality: $(READY) ## the paper's comparisons, when attention pays, and DIN and floors tuned alike, on the logs below DATA=; resumes
	python -m benchmarks.quality --write $(DATA:%=--data %) --jobs $(JOBS) $(ARGS)
	python -m benchmarks.tuned --write $(DATA:%=--data %) --jobs $(JOBS) $(ARGS)

warranty: $(READY) ## how often the gate errs on lessons whose next day is known, on JOBS processes; writes docs/results.md
	python -m benchmarks.warranty --write --jobs $(JOBS) $(ARGS)

drifts: $(READY) ## how many planted drifts `din watch` finds, and how many sound days alarm; resumes; writes docs/watching.md
	python -m benchmarks.drifts --write $(ARGS)

docs: $(READY)   ## the documentation as a site in .site/; open .site/index.html
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=. mkdocs build --strict --quiet

month: $(READY)  ## thirty simulated days, eighteen of them bad; resumes; writes docs/simulated-logs.md
	python -m benchmarks.month --write $(ARGS)

wheel: $(READY)  ## build wheel and sdist in dist/, and lead a small log to a champion with the wheel alone, in WORK=
	.ci/wheel "$(WORK)"

lint: $(READY)   ## style, types, import layers
	ruff check .
	ruff format --check .
	pyright
	lint-imports

house: $(READY)  ## how much there is to read and know: lines of each room, imports, parameters, commands, pages
	python -m benchmarks.house

clean:           ## remove the pipeline's outputs and its local Airflow runs; keeps the environment, the registry and DVC's cache
	rm -rf data models reports .din

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "python3 >= 3.11 is needed; set PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(VENV)/bin/uv pip install --quiet --python $(VENV)/bin/python $(PACKAGE) \
	  || $(VENV)/bin/python -m pip install --quiet $(PACKAGE)
	@touch $(READY)
