# Drawn from Noise. `make` lists what there is to make. The first target that you make sets up .venv.
PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/python -m
READY := .venv/.ready

CHECKS := "ruff check" "ruff format --check" "mypy" "book.tools.mirror --check" "book.tools.notebook check" "book.tools.claims --check" \
  "book.tools.scoreboard --check" "book.tools.library_map --check" "book.tools.budgets --check" "book.tools.colab --check" "book.tools.links"

.PHONY: help book test check chapter mirror library text apply claims scoreboard weights evidence budgets bench lock clean

help:
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' $(firstword $(MAKEFILE_LIST)) | while IFS='	' read -r name what; do \
	  printf '  make %-11s %s\n' "$$name" "$$what"; done

book: $(READY) ## render the site from the stored outputs, and say where it is
	@$(BIN)/jupyter-book build . --all -W --keep-going
	@echo "The book: $(CURDIR)/_build/html/index.html"
	@echo "To serve it on http://localhost:8000: $(BIN)/python -m http.server --directory _build/html"

test: $(READY) ## run the unit tests, the parity tests and every chapter
	@$(RUN) pytest

check: $(READY) ## style, types, mirrored cells, fresh outputs, claims, links
	@failed=; \
	for step in $(CHECKS); do \
	  echo "== $$step"; \
	  $(RUN) $$step || failed="$$failed  $(RUN) $$step\n"; \
	done; \
	if [ -n "$$failed" ]; then printf "\nThese failed; each says above what to do:\n$$failed"; exit 1; fi

chapter: number $(READY) ## execute one chapter in place: make chapter N=01
	@$(RUN) book.tools.notebook run $(N)
	@$(RUN) book.tools.claims
	@$(RUN) book.tools.scoreboard

mirror: $(READY) ## write the library's code into the chapters' mirrored cells
	@$(RUN) book.tools.mirror

library: $(READY) ## draw the map of the library in CONTRIBUTING.md
	@$(RUN) book.tools.library_map

text: number $(READY) ## write a chapter as text to edit, to .text/: make text N=01
	@$(RUN) book.tools.notebook text $(N)

apply: number $(READY) ## take the edited text back into the chapter: make apply N=01
	@$(RUN) book.tools.notebook apply $(N)

claims: $(READY) ## write the index of claims from the chapters' outputs
	@$(RUN) book.tools.claims

scoreboard: $(READY) ## write the scoreboard
	@$(RUN) book.tools.scoreboard

weights: $(READY) ## retrain the weights that ship, all or one: make weights NAME=…
	@$(RUN) book.tools.train_weights $(NAME)

evidence: $(READY) ## measure the claims whose code has changed, or one: make evidence ID=AE-1
	@$(RUN) minilib measure $(or $(ID),--stale) $(if $(SIZE),--size $(SIZE))
	@$(RUN) book.tools.claims

budgets: $(READY) ## what each chapter and the tests cost, in core-seconds
	@$(RUN) book.tools.budgets

bench: $(READY) ## compare our U-Net with diffusers': speed, memory, training time to a target
	@$(RUN) tests.bench.speed
	@$(RUN) tests.bench.step
	@$(RUN) tests.bench.target

lock: $(READY) ## write the versions in .venv to requirements.lock
	@{ grep '^#' requirements.lock; $(RUN) pip freeze --all --exclude pip --exclude minilib | sed 's/+cpu$$//'; } > .lock
	@mv .lock requirements.lock

clean: ## delete what was built, and .venv
	rm -rf .venv _build .text build dist *.egg-info .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: number
number:
	@[ -n "$(N)" ] || { echo "which chapter? for example: make $(firstword $(MAKECMDGOALS)) N=01" >&2; exit 1; }

# Set-up. Each stamp comes last, so that a set-up that was cut short is taken up again.
$(READY): .venv/.locked pyproject.toml
	@$(RUN) pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

.venv/.locked: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, and $(PYTHON) is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@echo "Setting up .venv, once: this takes a few minutes, and pip is silent for some of them."
	$(PYTHON) -m venv .venv
	$(RUN) pip install -r requirements.lock
	@touch $@
