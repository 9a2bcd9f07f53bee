#!/usr/bin/env bash
# Fuzzes each target of fuzz/, as many at a time as there are processors: fuzz.sh TOOLS SECONDS [TARGET…].
# Inputs that reach new code are kept in target/fuzz/corpus. An input for which a target fails is kept in
# target/fuzz/artifacts; then the others still run, and the exit code is 1. SEED repeats a run as far as its time allows.
# One line for each target is written to target/fuzz/results.
set -euo pipefail
cd "$(dirname "$0")/.."

[ $# -ge 2 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0" && exit 2; }
export PATH=$1/bin:$PATH
seconds=$2
shift 2
# The instrumentation is a nightly feature of the compiler.
export RUSTC_BOOTSTRAP=1
# Without AddressSanitizer, which halves the speed: the code is safe Rust, except src/store/sqlite/handle.rs, which no
# target reaches.
build=(--sanitizer none --target-dir target/fuzz)
cargo fuzz build "${build[@]}"
# `cargo fuzz run` locks the directory while a target runs, so the programs are started directly.
programs=target/fuzz/$(rustc -vV | sed -n 's/^host: //p')/release
[ $# -gt 0 ] || mapfile -t targets < <(cargo fuzz list)
[ $# -eq 0 ] || targets=("$@")
seed=${SEED:-$((RANDOM * 32768 + RANDOM + 1))}
rm -rf target/fuzz/results
mkdir -p target/fuzz/results

fuzz() {
    local target=$1 corpus=target/fuzz/corpus/$1 artifacts=target/fuzz/artifacts/$1 log=target/fuzz/$1.log outcome runs covered
    mkdir -p "$corpus" "$artifacts"
    # libFuzzer writes to the first directory only.
    if "$programs/$target" "$corpus" "fuzz/corpus/$target" \
        -max_total_time="$seconds" -timeout=5 -max_len=4096 -seed="$seed" -print_final_stats=1 \
        -artifact_prefix="$artifacts/" >"$log" 2>&1; then
        outcome=ok
    else
        outcome=FAILED
        tail -n 40 "$log"
        echo "fuzz $target: the input is in $artifacts" >&2
    fi
    # libFuzzer does not print them after a failure.
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    covered=$(sed -n 's/^#.*DONE *cov: \([0-9]*\).*/\1/p' "$log")
    echo "fuzz $target: $outcome, ${runs:-0} runs in $seconds s, ${covered:-0} edges covered, seed $seed" |
        tee "target/fuzz/results/$target"
    [ $outcome = ok ]
}

# A target uses one processor.
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
failed=0
for target in "${targets[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do
        wait -n || failed=1
    done
    fuzz "$target" &
done
while [ -n "$(jobs -p)" ]; do
    wait -n || failed=1
done
exit $failed
