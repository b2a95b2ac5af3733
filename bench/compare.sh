#!/usr/bin/env bash
# Compares the micro-benchmarks of two commits with benchstat.
#
#	bash bench/compare.sh [OLD [NEW]]
#
# OLD and NEW are commits; if not given, HEAD~1 and HEAD. A NEW of "." is the tree as it lies there, changes included.
# Both are built first. Then each benchmark program runs several times, by turns with its like of the other commit and in
# random order, so that what the machine does besides hits both alike. These variables change what is run:
#
#	BENCH=.        which benchmarks, as for go test -bench
#	PKGS=./...     which packages
#	COUNT=10       how often each; fewer than 6 say little
#	TIME=200ms     for how long each time, as for go test -benchtime
#	CPU=           the processor to run on, as for taskset; if empty, any
#	KEEP=          a folder that keeps old.txt and new.txt, as benchstat reads them; if empty, none
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

benchstat=golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da
old=${1:-HEAD~1} new=${2:-HEAD}
bench=${BENCH:-.} pkgs=${PKGS:-./...} count=${COUNT:-10} time=${TIME:-200ms} cpu=${CPU:-} keep=${KEEP:-}

fail() {
	echo "compare.sh: $1" >&2
	exit 2
}
[[ $# -le 2 ]] || fail "there are two arguments at most, OLD and NEW: $*"
[[ $count =~ ^[1-9][0-9]*$ ]] || fail "COUNT is \"$count\": it must be a number from 1"
for commit in "$old" "$new"; do
	[[ $commit == "." && $commit == "$new" ]] || git rev-parse -q --verify "$commit^{commit}" >/dev/null ||
		fail "\"$commit\" is no commit of this repository"
done
pin=()
[[ -z $cpu ]] || pin=(taskset -c "$cpu")

work=$(mktemp -d)
cleanup() {
	local side
	for side in old new; do
		if [[ -d $work/$side ]]; then git worktree remove --force "$work/$side" 2>/dev/null || true; fi
	done
	rm -rf "$work"
}
trap cleanup EXIT

# build SIDE COMMIT builds the benchmark programs of a commit, each named after its package.
build() {
	local side=$1 commit=$2 tree=$work/$1 dir pkg
	if [[ $commit == "." ]]; then
		tree=$PWD
	else
		git worktree add -q --detach "$tree" "$commit"
	fi
	mkdir "$work/bin-$side"
	# shellcheck disable=SC2086 # several patterns
	while read -r dir pkg; do
		grep -qs '^func Benchmark' "$dir"/*_test.go || continue
		(cd "$dir" && go test -c -o "$work/bin-$side/${pkg//\//__}" .)
		echo "$dir" >"$work/bin-$side/${pkg//\//__}.dir"
	done < <(cd "$tree" && go list -f '{{.Dir}} {{.ImportPath}}' $pkgs)
}

# run SIDE PROGRAM runs it once, where its test data is.
run() {
	local program=$work/bin-$1/$2
	[[ -x $program ]] || return 0
	echo "pkg: ${2//__/\/}" >>"$work/$1.txt"
	(cd "$(cat "$program.dir")" &&
		"${pin[@]}" "$program" -test.run '^$' -test.bench "$bench" -test.benchtime "$time" -test.benchmem) |
		grep '^Benchmark' >>"$work/$1.txt" || [[ ${PIPESTATUS[0]} == 0 ]] # none may match
}

build old "$old"
build new "$new"
programs=$(cd "$work" && find bin-old bin-new -type f -executable -printf '%f\n' | sort -u)
[[ -n $programs ]] || fail "no package among $pkgs has a benchmark"
: >"$work/old.txt"
: >"$work/new.txt"
for ((i = 1; i <= count; i++)); do
	echo "round $i of $count" >&2
	while read -r program; do
		if ((RANDOM % 2)); then
			run old "$program"
			run new "$program"
		else
			run new "$program"
			run old "$program"
		fi
	done < <(shuf <<<"$programs")
done
grep -q '^Benchmark' "$work/old.txt" "$work/new.txt" || fail "no benchmark matches BENCH=$bench"
if [[ -n $keep ]]; then
	mkdir -p "$keep"
	cp "$work/old.txt" "$work/new.txt" "$keep"
fi
go run "$benchstat" "old=$work/old.txt" "new=$work/new.txt"
