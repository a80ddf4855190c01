#!/usr/bin/env bash
# Evaluate on a Slurm cluster: [GPUS=16] tools/slurm_test.sh PARTITION JOB CONFIG CHECKPOINT
# [flags of tools/test.py]
set -euo pipefail
if (($# < 4)); then
    echo "usage: $0 PARTITION JOB_NAME CONFIG CHECKPOINT [flags of tools/test.py]" >&2
    exit 2
fi
TOOLS=$(dirname "$0")
GPUS=${GPUS:-8}
GPUS_PER_NODE=${GPUS_PER_NODE:-$((GPUS < 8 ? GPUS : 8))}

# SRUN_ARGS holds several flags: it must be split at its spaces.
# shellcheck disable=SC2086
PYTHONPATH="$TOOLS/..${PYTHONPATH:+:$PYTHONPATH}" \
srun -p "$1" \
    --job-name="$2" \
    --gres="gpu:$GPUS_PER_NODE" \
    --ntasks="$GPUS" \
    --ntasks-per-node="$GPUS_PER_NODE" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$TOOLS/test.py" "$3" "$4" --launcher=slurm "${@:5}"
