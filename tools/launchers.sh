# How dist_*.sh and slurm_*.sh start the processes of a tool; sourced by them.
set -euo pipefail
TOOLS=$(dirname "${BASH_SOURCE[0]}")
PYTHON=${PYTHON:-python}
export PYTHONPATH="$TOOLS/..${PYTHONPATH:+:$PYTHONPATH}"

# needs COUNT USAGE ARGUMENTS…: end with the usage if there are fewer arguments.
needs() {
    if (($# - 2 < $1)); then
        echo "usage: $0 $2" >&2
        exit 2
    fi
}

# with_pytorch PROCESSES TOOL ARGUMENTS…: on this machine, and others with NNODES.
with_pytorch() {
    "$PYTHON" -m torch.distributed.run \
        --nnodes="${NNODES:-1}" \
        --node_rank="${NODE_RANK:-0}" \
        --master_addr="${MASTER_ADDR:-127.0.0.1}" \
        --master_port="${PORT:-29500}" \
        --nproc_per_node="$1" \
        "$TOOLS/$2" --launcher pytorch "${@:3}"
}

# with_slurm PARTITION JOB_NAME TOOL ARGUMENTS…: on GPUS GPUs of a cluster.
with_slurm() {
    local gpus=${GPUS:-8}
    local gpus_per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
    # SRUN_ARGS holds several flags: it must be split at its spaces.
    # shellcheck disable=SC2086
    srun -p "$1" \
        --job-name="$2" \
        --gres="gpu:$gpus_per_node" \
        --ntasks="$gpus" \
        --ntasks-per-node="$gpus_per_node" \
        --cpus-per-task="${CPUS_PER_TASK:-5}" \
        --kill-on-bad-exit=1 \
        ${SRUN_ARGS:-} \
        "$PYTHON" -u "$TOOLS/$3" --launcher slurm "${@:4}"
}
