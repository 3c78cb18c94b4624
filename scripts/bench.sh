#!/usr/bin/env bash
# Prints the figures people ask for first, one a line: what a clean build takes, what it makes, what it needs at rest, how
# soon an ended session is refused, what a request costs.
# The build is the one `make quickstart` does, into a folder of its own, so that it is really clean.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work=$(mktemp -d)
quickstart=
stop() {
    if [ -n "$quickstart" ]; then
        kill "$quickstart" 2>/dev/null || true
        wait "$quickstart" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap stop EXIT

figure() {
    printf '%-34s %s\n' "$1" "$2"
}

# Milliseconds since some fixed moment, to one hundredth of a second.
now() {
    awk '{ print $1 * 1000 }' /proc/uptime
}

since() {
    awk -v start="$1" -v end="$(now)" 'BEGIN { printf "%.2f s", (end - start) / 1000 }'
}

# A number out of quickstart.json.
pid_of() {
    sed -n "s/.*\"$1\": *\([0-9][0-9]*\).*/\1/p" "$work/dir/quickstart.json"
}

memory() {
    awk '/^VmRSS:/ { printf "%.1f MiB", $2 / 1024 }' "/proc/$1/status"
}

# Waits for a line that starts with `ready `; a product that ends instead has said why.
wait_ready() {
    until grep -q '^ready ' "$work/output"; do
        if ! kill -0 "$quickstart" 2>/dev/null; then
            cat "$work/output" >&2
            exit 1
        fi
        sleep 0.01
    done
}

cargo fetch --locked --quiet
started=$(now)
CARGO_TARGET_DIR=$work/target cargo build --release --locked --quiet --bin cams
figure "clean release build ($(nproc) cores)" "$(since "$started")"
cams=$work/target/release/cams
figure "binary, with line tables" "$(awk -v b="$(stat -c %s "$cams")" 'BEGIN { printf "%.1f MiB", b / 1048576 }')"
figure "crates built for it" "$(cargo tree --locked -p cams --edges normal,build --prefix none | sed 's, (\*)$,,' | sort -u | wc -l)"

for run in first second; do
    started=$(now)
    "$cams" quickstart --dir "$work/dir" --listen 127.0.0.1:0 >"$work/output" 2>&1 </dev/null &
    quickstart=$!
    wait_ready
    figure "quickstart to ready, $run time" "$(since "$started")"
    if [ "$run" = second ]; then
        figure "memory of the policy server" "$(memory "$(pid_of policy_server_pid)")"
        figure "memory of the web agent" "$(memory "$(pid_of web_agent_pid)")"
    fi
    kill "$quickstart"
    wait "$quickstart" || true
    quickstart=
done

# What measures waits for the system and for what it measures, so it is built as the tests are.
CAMS_BINARY=$cams cargo bench --workspace --locked --quiet --profile dev --bench figures
