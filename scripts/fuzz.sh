#!/usr/bin/env bash
# Runs the fuzz targets, all or those named: FUZZ_SECONDS each (60). Needs a nightly compiler; installs cargo-fuzz beside
# the build. What is found on the way stays in target/fuzz-corpus; an input that fails is kept in fuzz/artifacts.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
version=0.13.2

if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "fuzz: there is no nightly compiler: rustup toolchain install nightly --profile minimal" >&2
    exit 1
fi
if [ ! -x "$target/test-tools/bin/cargo-fuzz" ]; then
    cargo +nightly install cargo-fuzz --locked --version "$version" --root "$target/test-tools"
fi
PATH=$target/test-tools/bin:$PATH

# The product has no unsafe code, so that a sanitizer would find little for its time.
fuzz() { cargo +nightly fuzz "$1" --sanitizer none --target-dir "$target/fuzz" "${@:2}"; }

fuzz build
[ $# -gt 0 ] || mapfile -t names < <(cargo +nightly fuzz list)
for name in "${@:-${names[@]}}"; do
    mkdir -p "$target/fuzz-corpus/$name"
    echo "fuzz: $name"
    fuzz run "$name" "$target/fuzz-corpus/$name" "fuzz/corpus/$name" -- \
        -max_total_time="${FUZZ_SECONDS:-60}" -max_len=4096 -timeout=10 -verbosity=0 -print_funcs=0
done
