#!/usr/bin/env bash
# Train with several processes: tools/dist_train.sh CONFIG GPUS [flags of tools/train.py]
# On CPUs: tools/dist_train.sh CONFIG 2 --device cpu
# On several machines, on each: NNODES=2 NODE_RANK=0 MASTER_ADDR=HOST tools/dist_train.sh …
source "$(dirname "$0")/launchers.sh"
needs 2 'CONFIG GPUS [flags of tools/train.py]' "$@"
with_pytorch "$2" train.py "$1" "${@:3}"
