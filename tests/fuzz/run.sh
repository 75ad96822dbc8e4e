#!/usr/bin/env bash
# Fuzzes our readers with libFuzzer, on the stable toolchain. Prints what was found; exit code 1 if anything was.
# usage: run.sh SECONDS [TARGET…]     fuzz each target for so long
#        run.sh keep BYTES TARGET     add what was reached by fuzzing to the committed corpus, minimised, in inputs up to BYTES
set -euo pipefail
cd "$(dirname "$0")/../.."
host=$(rustc -vV | sed -n 's/^host: //p')
out=target/fuzz
# Coverage comes from LLVM's own pass, which needs no nightly compiler. `--target` keeps it out of build scripts and macros.
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0"
RUSTFLAGS="$coverage" cargo build --locked --quiet --profile fuzz --target "$host" --target-dir "$out" \
    -p fm-fuzz --features libfuzzer --bin fuzz
fuzz=$out/$host/fuzz/fuzz

if [ "${1-}" = keep ]; then
    bytes=$2 target=$3
    kept=$(mktemp -d)
    FUZZ_TARGET=$target "$fuzz" -merge=1 -max_len="$bytes" "$kept" "tests/fuzz/corpus/$target" "$out/corpus/$target" 2>&1 | tail -1
    # What a person put there stays.
    for input in "tests/fuzz/corpus/$target"/*; do
        [[ $(basename "$input") =~ ^[0-9a-f]{40}$ ]] && rm "$input"
    done
    for input in "$kept"/*; do
        same=$(cd "tests/fuzz/corpus/$target" && for seed in *; do cmp -s "$seed" "$input" && echo "$seed"; done || true)
        [ -n "$same" ] || cp "$input" "tests/fuzz/corpus/$target/"
    done
    rm -rf "$kept"
    du -sb "tests/fuzz/corpus/$target"
    exit
fi

seconds=${1:-60}
shift || true
[ $# -gt 0 ] || set -- $(ls tests/fuzz/corpus)
found=0
for target in "$@"; do
    [ -d "tests/fuzz/corpus/$target" ] || { echo "fuzz: there is no target $target; there are: $(ls tests/fuzz/corpus | tr '\n' ' ')" >&2; exit 2; }
    mkdir -p "$out/corpus/$target" "$out/findings"
    log=$out/$target.log
    # A finding ends a target's run: its input is kept, to become a test.
    if FUZZ_TARGET=$target nice -n 19 "$fuzz" -max_total_time="$seconds" -max_len=16384 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$out/findings/$target-" "$out/corpus/$target" "tests/fuzz/corpus/$target" >"$log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        covered=$(grep -oE 'cov: [0-9]+' "$log" | tail -1)
        echo "fuzz: $target: nothing found in $seconds s, $runs inputs tried, ${covered/: / } edges"
    else
        found=1
        echo "fuzz: $target: FOUND (the whole output is in $log)"
        grep -aE -A3 'panicked at|ERROR: libFuzzer|Test unit written' "$log" | head -20
    fi
done
exit $found
