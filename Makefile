# Every target runs on a fresh machine with only Go, but for `clients`, which installs what it needs, `stories`, which needs
# curl and jq, and `network`, which needs root on Linux.
GO ?= go
SEEDS ?= 2000
FUZZTIME ?= 10s
FUZZMINUTES ?= 30
SOAKTIME ?= 1h
CONCURRENT = . ./internal/audit ./internal/gateway ./internal/tlsfiles ./internal/host ./internal/peer ./internal/watch ./internal/v3rpc ./internal/v2client ./internal/ctl2 ./internal/sim ./internal/wal ./internal/engine/... ./internal/lane ./internal/proxy ./internal/password ./internal/token ./internal/v2http ./client/...

.PHONY: build test race fuzz fuzz-long sim soak network bench golden lint clients stories
build:
	$(GO) build -o bin/cairn ./cmd/cairn
	ln -sf cairn bin/etcdctl
test:
	$(GO) test ./...
race:
	$(GO) test -race $(CONCURRENT)
fuzz:
	EACH=$(FUZZTIME) test/fuzz/run.sh
fuzz-long:
	test/fuzz/run.sh $(FUZZMINUTES)
sim:
	$(GO) test ./internal/sim -run TestSeeds -v -sim.seeds $(SEEDS) -sim.seed $${SEED:-0} -timeout 60m
soak:
	$(GO) test ./internal/sim -run TestSeeds -v -sim.for $(SOAKTIME) -sim.seed $$(date +%s)0000 -timeout 0
network:
	test/network/run.sh
golden:
	cd bench && $(GO) test ./golden ./golden2 -v
bench:
	cd bench && $(GO) run .
lint:
	$(GO) vet ./...
	test -z "$$(gofmt -l . | tee /dev/stderr)"
	$(GO) run honnef.co/go/tools/cmd/staticcheck@latest ./...
clients:
	test/clients/run.sh
stories:
	test/stories/run.sh
