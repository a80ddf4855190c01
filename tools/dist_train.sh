#!/usr/bin/env bash
# Train on several GPUs: tools/dist_train.sh CONFIG GPUS [flags of tools/train.py]
# On several machines, on each: NNODES=2 NODE_RANK=0 MASTER_ADDR=HOST tools/dist_train.sh …
set -euo pipefail
if (($# < 2)); then
    echo "usage: $0 CONFIG GPUS [flags of tools/train.py]" >&2
    exit 2
fi
TOOLS=$(dirname "$0")

PYTHONPATH="$TOOLS/..${PYTHONPATH:+:$PYTHONPATH}" \
"${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$2" \
    "$TOOLS/train.py" "$1" --launcher pytorch "${@:3}"
