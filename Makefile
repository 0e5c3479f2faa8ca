# Shortcuts; everything here can be run by hand. .ci/run checks what a change must keep.

.PHONY: test bench benchstat

test:
	go test ./...

# KUBE_APISERVER and ETCD are binaries to measure beside; without them kayak is measured alone. BENCH has further flags of bench.
bench:
	go build -o bench/kayak.test ./cmd/kayak
	cd bench && go run . --kayak kayak.test $(if $(KUBE_APISERVER),--kube-apiserver $(KUBE_APISERVER) --etcd $(ETCD)) $(BENCH)

# The Go benchmarks of the hot pieces beside those of BASE (HEAD unless it is named), with benchstat. COUNT, BENCH, BENCHTIME and PACKAGES
# as bench/benchstat.sh says.
benchstat:
	bench/benchstat.sh $(BASE)
