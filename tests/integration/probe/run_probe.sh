#!/usr/bin/env bash
# Runs one of the contract's probes (shared/design/probes) against a gdfod of its own.
set -euo pipefail
if [[ ${1:-} == --help || $# -lt 2 ]]; then
    echo "usage: run_probe.sh GDFOD raw|openai [PROBE ARGUMENTS]"
    echo "Starts GDFOD on a free port with a folder of its own and the tiny model as teacher \"local\"."
    [[ ${1:-} == --help ]] && exit 0 || exit 2
fi
gdfod=$1 probe=$2
shift 2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
shared=${GDFO_SHARED:-$here/../../../../shared}
model=$shared/models/stories260K/stories260K.derived.gguf
[[ -f $model ]] || { echo "missing: $model" >&2 && exit 1; }
shared=$(cd "$shared" && pwd)
work=$(mktemp -d)
pid=

finish() {
    local code=$?
    if [[ -n $pid ]]; then
        kill -TERM "$pid" 2>/dev/null || true
        wait "$pid" || { echo "gdfod did not stop with 0" >&2 && code=1; }
    fi
    [[ $code -eq 0 ]] || { echo "---- the daemon's log" && tail -n 100 "$work/log"; } >&2
    rm -rf "$work"
    exit $code
}
trap finish EXIT

# The official client, by the lock file beside this script; installed once, beside nothing else.
install_client() {
    local cache=${XDG_CACHE_HOME:-$HOME/.cache}/gdfo/probe-openai
    mkdir -p "$cache"
    exec 9>"$cache/lock"
    flock 9
    if ! cmp -s "$here/package-lock.json" "$cache/package-lock.json" || [[ ! -d $cache/node_modules/openai ]]; then
        cp "$here/package.json" "$here/package-lock.json" "$cache/"
        (cd "$cache" && npm ci --ignore-scripts --no-audit --no-fund >"$work/npm" 2>&1) || {
            cat "$work/npm" >&2
            rm -f "$cache/package-lock.json"
            echo "the official client could not be installed" >&2
            exit 1
        }
    fi
    exec 9>&-
    # The probe stays where it is; links let it find the client.
    ln -s "$cache/node_modules" "$work/node_modules"
    ln -s "$shared/design/probes/openai-client.mjs" "$work/openai-client.mjs"
}

start_daemon() {
    mkdir -p "$work/models"
    cp "$model" "$work/models/local.gguf"
    mkfifo "$work/out"
    "$gdfod" --data.dir="$work/data" --models.dir="$work/models" --http.port=0 >"$work/out" 2>"$work/log" &
    pid=$!
    read -r ready url <"$work/out"
    [[ $ready == ready ]] || { echo "gdfod is not ready" >&2 && exit 1; }
}

case $probe in
raw)
    start_daemon
    python3 "$shared/design/probes/http-raw.py" --url "$url" "$@"
    ;;
openai)
    command -v npm >/dev/null || { echo "missing: node and npm (Debian packages nodejs, npm)" >&2 && exit 1; }
    install_client
    start_daemon
    node --preserve-symlinks --preserve-symlinks-main "$work/openai-client.mjs" --url "$url" --teacher local "$@"
    ;;
*)
    echo "unknown probe: $probe" >&2
    exit 2
    ;;
esac
