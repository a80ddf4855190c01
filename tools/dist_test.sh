#!/usr/bin/env bash
# Evaluate on several GPUs: tools/dist_test.sh CONFIG CHECKPOINT GPUS [flags of tools/test.py]
# On several machines, on each: NNODES=2 NODE_RANK=0 MASTER_ADDR=HOST tools/dist_test.sh …
set -euo pipefail
if (($# < 3)); then
    echo "usage: $0 CONFIG CHECKPOINT GPUS [flags of tools/test.py]" >&2
    exit 2
fi
TOOLS=$(dirname "$0")

PYTHONPATH="$TOOLS/..${PYTHONPATH:+:$PYTHONPATH}" \
"${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$3" \
    "$TOOLS/test.py" "$1" "$2" --launcher pytorch "${@:4}"
