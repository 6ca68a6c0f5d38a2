# Sourced by the scripts beside it: what a GPU node without a network needs, from the wheelhouse.
# The node's own torch, Triton, transformers and numpy serve; nothing of the node is changed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

house=${LPBENCH_WHEELHOUSE:-dist/wheelhouse}
site=$PWD/.gpu/site
sampler=$PWD/.gpu/sampler
install_to() { # folder, wheels: whole or not at all
    rm -rf "$1.part"
    python3 -m pip install --quiet --no-index --no-deps --target "$1.part" "${@:2}"
    mv "$1.part" "$1"
}
[ -d "$site" ] || install_to "$site" "$house"/*.whl
[ -d "$sampler" ] || install_to "$sampler" "$house"/sampler/*.whl
export PYTHONPATH=$PWD/harness:$site${PYTHONPATH:+:$PYTHONPATH}
export LPBENCH_CUPTI=${LPBENCH_CUPTI:-$sampler}
export LPBENCH_CACHE=${LPBENCH_CACHE:-$PWD/.gpu/cache}
export LPBENCH_RESULTS=${LPBENCH_RESULTS:-results/runs/gpu}
mkdir -p "$LPBENCH_RESULTS"

# What the scripts run; a trial without a GPU sets both: MODEL=builtin-moe DEVICE=cpu.
MODEL=${MODEL:-qwen3-30b-a3b}
DEVICE=${DEVICE:-cuda}

# A folder of its own for each run.
stamped() { printf '%s/%s-%s' "$LPBENCH_RESULTS" "$1" "$(date +%H%M%S)"; }

lpbench() { python3 -m lpbench "$@"; }

# Run a command under a heading with its time; its failure is told and does not end the script.
step() {
    local from=$SECONDS
    printf '\n=== %s\n' "$*"
    "$@" && local status=0 || local status=$?
    printf '=== status %s, %s s\n' "$status" "$((SECONDS - from))"
}
