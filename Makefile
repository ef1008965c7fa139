# phi3: every common job in one word. Nothing here needs more than Go unless it says so.

.PHONY: build test lint fmt bench distances demo-model testdata clean

GOFUMPT       := mvdan.cc/gofumpt@v0.12.0
GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

build: ## the program, at ./phi3
	CGO_ENABLED=0 go build -o phi3 ./cmd/phi3

test: ## every test; installs nothing
	go vet ./...
	go test ./...

lint: ## formatting and static checks, with the pinned tools
	@unformatted=$$(go run $(GOFUMPT) -l .); test -z "$$unformatted" || { echo "gofumpt would change:"; echo "$$unformatted"; exit 1; }
	go run $(GOLANGCI_LINT) run

fmt:
	go run $(GOFUMPT) -w .

bench: build ## speed of the built-in model, with and without the KV cache
	./phi3 bench
	./phi3 bench --no-cache

distances: ## how far our logits and Hugging Face's bfloat16 logits are from a float32 run
	@go test ./internal/cpu -count 1 -run 'TestModels/bfloat16' -v | sed -n 's/^ *|/|/p'

demo-model: ## retrains the built-in checkpoint (Python with torch, transformers, tokenizers)
	python3 internal/demo/train.py

testdata: ## rebuilds the test checkpoints and their Hugging Face goldens (Python, likewise)
	python3 testdata/make_goldens.py
	python3 testdata/make_goldens.py --demo internal/demo/checkpoint

clean:
	rm -f phi3
