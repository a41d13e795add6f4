#!/usr/bin/env bash
# Train an experiment on a Cloud TPU slice, with all of its hosts.
#
#   export EXPERIMENT='experiments.resnet_cifar --name first'
#   export TPU=cnn-jax ZONE=us-east5-b TYPE=v6e-16 RUNTIME=v2-alpha-tpuv6e NFS=10.0.0.2:/runs
#   launch/tpu_pod.sh [--dry-run] [STEP ...]
#
# Steps, by default "create install run collect delete":
#   create    ask for the slice as a queued spot resource, or take the one that is there, and wait
#   install   copy the last commit to all hosts and install it; mount NFS, if it is set, as runs/
#   run       run the experiment on all hosts; the same command goes on with a run
#   stop      let a run that another shell has started save its state and end
#   collect   copy runs/ of the first host to this directory
#   delete    give the slice back
# With --dry-run the commands are only printed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

dry=false
if [[ ${1:-} == --dry-run ]]; then
    dry=true
    shift
fi
(($#)) || set -- create install run collect delete
: "${TPU:?set it to a name for the slice}" "${ZONE:?set it to a zone, as in us-east5-b}"

run() {
    printf '+ %s\n' "${*@Q}"
    "$dry" || "$@"
}

state() {
    "$dry" || gcloud compute tpus queued-resources describe "$TPU" --zone "$ZONE" \
        --format 'value(state.state)' 2>/dev/null || true
}

everywhere() {
    run gcloud compute tpus tpu-vm ssh "$TPU" --zone "$ZONE" --worker all --command "$1"
}

create() {
    : "${TYPE:?set it to an accelerator type, as in v6e-16}"
    : "${RUNTIME:?set it to the runtime version of that type, as in v2-alpha-tpuv6e}"
    case $(state) in
        FAILED | SUSPENDED) delete ;; # after a preemption
    esac
    if [[ -z $(state) ]]; then
        run gcloud compute tpus queued-resources create "$TPU" --node-id "$TPU" --zone "$ZONE" \
            --accelerator-type "$TYPE" --runtime-version "$RUNTIME" --spot
    fi
    until "$dry"; do
        case $(state) in
            ACTIVE) break ;;
            "" | FAILED | SUSPENDED | SUSPENDING)
                echo "the queued resource $TPU was not granted; see its description" >&2
                return 1
                ;;
        esac
        sleep "${POLL:-30}"
    done
}

install() {
    local archive=${TMPDIR:-/tmp}/cnn_jax.tar.gz
    run git archive --prefix cnn_jax/ --output "$archive" HEAD
    run gcloud compute tpus tpu-vm scp "$archive" "$TPU:" --zone "$ZONE" --worker all
    everywhere "set -e
        tar -xzf cnn_jax.tar.gz && cd cnn_jax && mkdir -p runs
        if [ -n '${NFS:-}' ] && ! mountpoint -q runs; then
            sudo apt-get install -qq -y nfs-common
            sudo mount -t nfs '${NFS:-}' runs
        fi
        python3 -m pip install --quiet --user uv
        ~/.local/bin/uv venv --quiet --clear --python 3.12
        ~/.local/bin/uv pip install --quiet -e '.[tpu,experiments]'"
}

train() {
    : "${EXPERIMENT:?set it to the words after python -m}"
    everywhere "cd cnn_jax && CNN_JAX_DISTRIBUTED=1 exec .venv/bin/python -m $EXPERIMENT"
}

stop() {
    everywhere 'pkill -TERM -f "^.venv/bin/python -m" || true'
}

collect() {
    run gcloud compute tpus tpu-vm scp --recurse "$TPU:cnn_jax/runs" . --zone "$ZONE" --worker 0
}

delete() {
    run gcloud compute tpus queued-resources delete "$TPU" --zone "$ZONE" --force --quiet
}

trap 'echo "the slice $TPU costs until: launch/tpu_pod.sh delete" >&2' ERR
for step in "$@"; do
    case $step in
        create | install | stop | collect | delete) "$step" ;;
        run) train ;;
        *)
            echo "no step $step: create, install, run, stop, collect or delete" >&2
            exit 2
            ;;
    esac
done
