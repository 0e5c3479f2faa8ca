#!/usr/bin/env bash
# Compares the Go benchmarks of the hot pieces between a base revision and the working tree, with benchstat:
#
#     bench/benchstat.sh [BASE]        BASE is HEAD by default: what do my uncommitted changes do?
#
# The base is built in a worktree of its own, which is removed at the end; the working tree is left as it is. Both sides run in
# alternation, COUNT times, so that a machine that gets slower in between does not look like a regression. Nothing is kept: figures
# of one machine mean nothing on another. From the environment:
#
#     COUNT      how often each benchmark runs (6, the least from which benchstat tells a difference)
#     BENCH      which, as go test -bench has it (all)
#     BENCHTIME  how long each time, as go test -benchtime has it (300ms)
#     PACKAGES   of which packages, as directories
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

base="${1:-HEAD}"
count="${COUNT:-6}"
read -ra packages <<<"${PACKAGES:-internal/request internal/state internal/managedfields internal/verb internal/admission internal/authz/rbac internal/kind/custom internal/store/memory internal/store/embedded}"
# Not those that take long and are not of one hot piece (a start, hundreds of definitions), nor those of upstream's code beside ours.
skip='Definitions|Open$|/upstream|///upstream'
benchstat=golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da

say() { printf '%s\n' "$*" >&2; }

work="$(mktemp -d)"
trap 'git worktree remove --force "$work/base-tree" 2>/dev/null || true; rm -rf "$work"' EXIT
git worktree add --quiet --detach "$work/base-tree" "$base"
ln -s "$PWD" "$work/new-tree"

# build SIDE PACKAGE builds a package's test binary, if the side has tests there.
build() {
	local tree="$work/$1-tree/" binary="$work/$1-${2//\//-}.test"
	[[ -d "$tree$2" ]] || return 0
	say "building $2 of $1"
	(cd "$tree" && go test -c -o "$binary" "./$2") || say "$2 of $1 does not build, and is left out"
}

# measure SIDE PACKAGE runs a package's benchmarks once.
measure() {
	local binary="$work/$1-${2//\//-}.test"
	[[ -x "$binary" ]] || return 0
	(cd "$work/$1-tree/$2" && "$binary" -test.run '^$' -test.bench "${BENCH:-.}" -test.skip "$skip" -test.benchmem \
		-test.benchtime "${BENCHTIME:-300ms}") >>"$work/$1.txt" || say "$2 of $1 failed"
}

for package in "${packages[@]}"; do
	build base "$package"
	build new "$package"
done
touch "$work/base.txt" "$work/new.txt"
for ((i = 1; i <= count; i++)); do
	say "$(date +%T) round $i of $count"
	for package in "${packages[@]}"; do
		if ((i % 2)); then
			measure base "$package"
			measure new "$package"
		else
			measure new "$package"
			measure base "$package"
		fi
	done
done
go run "$benchstat" "$base=$work/base.txt" "new=$work/new.txt"
