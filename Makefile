# The front door: `make help` lists what there is. Everything needs Go; demo,
# test and e2e need Python 3.10 or later too (PYTHON=... chooses one). All else
# is installed inside this folder, under .local/.

SHELL    := /bin/bash
BINARY   := bin/prefect-northflank
TOOL     := go tool -modfile=tools/go.mod
GOBUILD  := CGO_ENABLED=0 go build -trimpath -ldflags='-s -w'
PYTHON   ?= python3
FUZZTIME ?= 20s

# Releases. The version stands in the source alone.
VERSION    := $(shell sed -n 's/^const version = "\(.*\)"$$/\1/p' internal/cli/version.go)
IMAGE      := ghcr.io/northflank/prefect-northflank
CONTAINER  ?= docker
GORELEASER := VERSION=$(VERSION) go run github.com/goreleaser/goreleaser/v2@v2.15.4

# What wheels are made for, in Go's words. python/hatch_build.py has their tags.
PLATFORMS    := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64
PYTHON_TOOLS := .local/python-tools

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/prefect-northflank, one static binary
	$(GOBUILD) -o $(BINARY) ./cmd/prefect-northflank

.PHONY: wheel
wheel: ## build the Python package for this platform, into dist/
	@$(MAKE) --no-print-directory wheel/$$(go env GOOS)/$$(go env GOARCH)

.PHONY: wheels
wheels: $(PLATFORMS:%=wheel/%) wheel/any ## build the Python packages for all platforms

.PHONY: $(PLATFORMS:%=wheel/%) wheel/any
$(PLATFORMS:%=wheel/%): wheel/%: $(PYTHON_TOOLS)/installed
	GOOS=$(*D) GOARCH=$(*F) $(GOBUILD) -o dist/bin/$*/ ./cmd/prefect-northflank
	cd python && WHEEL_PLATFORM=$* ../$(PYTHON_TOOLS)/bin/hatchling build -t wheel -d ../dist

wheel/any: $(PYTHON_TOOLS)/installed
	cd python && ../$(PYTHON_TOOLS)/bin/hatchling build -t wheel -d ../dist

$(PYTHON_TOOLS)/installed: python/requirements.txt
	rm -rf $(@D)
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	@touch $@

$(PYTHON_TOOLS)/linters: tools/requirements.txt $(PYTHON_TOOLS)/installed
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	@touch $@

DOCS_TOOLS := .local/docs-tools

$(DOCS_TOOLS)/installed: docs/site/requirements.txt
	rm -rf $(@D)
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	@touch $@

.PHONY: docs
docs: $(DOCS_TOOLS)/installed ## build the documentation as a static site, into dist/docs
	$(DOCS_TOOLS)/bin/sphinx-build -q -W -E --keep-going -c docs/site -d .local/docs-cache docs dist/docs
	@echo "Open dist/docs/index.html"

.PHONY: share
share: build ## write the manual page and the completions, into dist/share
	@mkdir -p dist/share
	$(BINARY) man > dist/share/prefect-northflank.1
	$(BINARY) completion bash > dist/share/prefect-northflank.bash
	$(BINARY) completion zsh > dist/share/_prefect-northflank
	$(BINARY) completion fish > dist/share/prefect-northflank.fish
	$(BINARY) completion pwsh > dist/share/prefect-northflank.ps1

.PHONY: image
image: ## build the container image (CONTAINER=podman chooses another engine than docker)
	$(CONTAINER) build --tag $(IMAGE):$(VERSION) .

.PHONY: release-check
release-check: ## build a release into dist/release, without a tag and without publishing
	$(GORELEASER) release --snapshot --clean

.PHONY: release
release: check ## publish the tag of this version as a release on GitHub
	$(GORELEASER) release --clean

.PHONY: demo
demo: build ## see flow runs go from Prefect to a local Northflank (KEEP=1 leaves it running)
	@go build -o .local/bin/demo ./demo
	@.local/bin/demo $(if $(KEEP),-keep)

.PHONY: stop
stop: ## end what `make demo KEEP=1` left running
	@go build -o .local/bin/demo ./demo
	@.local/bin/demo -stop

.PHONY: test
test: unit simulate e2e ## run all tests

.PHONY: unit
unit: ## run the tests that need neither network nor Python
	go test ./...

.PHONY: tutorial
tutorial: ## follow the tutorial from an empty folder, with a clock
	TUTORIAL=1 go test -tags e2e -count=1 -timeout 10m -v -run TestCommands/first-flow ./test/docs

.PHONY: simulate
simulate: ## run 10,000 random histories, each kill, each large load, and every two faults of a set-up
	SIMULATE=full GODEBUG=adaptivestackstart=1 go test -count=1 -timeout 10m -run TestRandomHistories ./internal/worker
	SIMULATE=full go test -count=1 -timeout 10m -skip TestRandomHistories ./internal/worker ./internal/doctor

.PHONY: chaos
chaos: ## kill the worker at every request in front of a real server (hours)
	CHAOS=all go test -tags e2e -count=1 -timeout 24h ./test/chaos

.PHONY: e2e
e2e: ## run the tests against a real Prefect server and a local Northflank
	go test -tags e2e -count=1 -p 1 -parallel 4 -timeout 20m ./test/e2e ./test/chaos ./test/quickstart ./test/packaging ./test/docs

# Python and Prefect that the package is tested with, beside those of e2e; see
# test/quickstart/testdata/matrix. A Python that is not here is passed over.
MATRIX ?= 3.10:client-3.1.1 3.12:client-3.1.1 3.13:client-3.4.25 3.11:prefect-3.6.22 3.10:prefect-newest 3.12:prefect-newest 3.13:prefect-newest

.PHONY: test-matrix
test-matrix: ## test the Python package with old and new Pythons and Prefects (20 minutes)
	@set -e; for entry in $(MATRIX); do python=$${entry%%:*} prefect=$${entry#*:}; echo "Python $$python, $$prefect"; \
		QUICKSTART_PYTHON=$$python QUICKSTART_PREFECT=$$prefect go test -tags e2e -count=1 -parallel 4 ./test/quickstart; done

.PHONY: race
race: ## run the unit tests under the race detector
	go test -race ./...

.PHONY: lint
lint: $(PYTHON_TOOLS)/linters ## check formatting, vet, go fix and staticcheck; Python by ruff, Dockerfile by hadolint
	@echo gofumpt; unformatted=$$($(TOOL) gofumpt -l .); \
		if [ -n "$$unformatted" ]; then echo "gofumpt would change (make format does):"; echo "$$unformatted"; exit 1; fi
	go vet -tags e2e ./...
	go fix -tags e2e -diff ./...
	$(TOOL) staticcheck -tags e2e ./...
	$(PYTHON_TOOLS)/bin/ruff format --check python
	$(PYTHON_TOOLS)/bin/ruff format --line-length 100 --check docs/site
	$(PYTHON_TOOLS)/bin/ruff check python
	$(PYTHON_TOOLS)/bin/ruff check --line-length 100 docs/site
	$(PYTHON_TOOLS)/bin/hadolint Dockerfile

# The database of vulnerabilities; file:///DIR is one that was made of a clone of
# github.com/golang/vulndb: go run ./cmd/indexdb -vulns data/osv -out DIR
VULNDB ?= https://vuln.go.dev

.PHONY: vuln
vuln: ## look for known vulnerabilities in what we call (needs VULNDB, which make check does not)
	go run golang.org/x/vuln/cmd/govulncheck@v1.9.0 -db $(VULNDB) -tags e2e ./...

.PHONY: format
format: $(PYTHON_TOOLS)/installed ## apply what lint wants: gofumpt, go fix and ruff
	go fix -tags e2e ./...
	$(TOOL) gofumpt -w .
	$(PYTHON_TOOLS)/bin/ruff check --fix --quiet python
	$(PYTHON_TOOLS)/bin/ruff format --quiet python
	$(PYTHON_TOOLS)/bin/ruff format --line-length 100 --quiet docs/site

.PHONY: fuzz
fuzz: ## feed each parser ten million hostile bytes, then fuzz each fuzz target for FUZZTIME (20s)
	@set -o pipefail; HOSTILE=full go test -count=1 -p 1 -v -run '^TestHostileInput$$' \
		$$(grep -rl --include='*_test.go' 'hostile\.Test(' internal | xargs -n1 dirname | sort -u | sed 's|^|./|') | \
		grep -vE '^(=== |  +--- (PASS|SKIP))'
	@set -e; for file in $$(grep -rl --include='*_test.go' '^func Fuzz' .); do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' "$$file"); do \
			echo "$$(dirname "$$file") $$target"; \
			go test "$$(dirname "$$file")" -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5s; \
		done; done

.PHONY: golden
golden: ## rewrite the golden files after a wanted change; review the diff
	@go test $$(grep -rl --include='*_test.go' 'flag.Bool("update"' . | xargs -n1 dirname | sort -u) -update

.PHONY: bench
bench: build ## measure the worker beside the Python original
	go run ./bench

.PHONY: clean
clean: ## remove what was built or installed here
	@if [ -x .local/bin/demo ]; then .local/bin/demo -stop; fi
	rm -rf .local bin dist

.PHONY: check
check: lint test ## what continuous integration runs
