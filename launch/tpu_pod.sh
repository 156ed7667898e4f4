#!/usr/bin/env bash
# Trains on a TPU pod of Google Cloud, or measures how fast it would: on all its workers, again after a
# preemption.
#
#   launch/tpu_pod.sh --name=pod --zone=us-west4-a --type=v5litepod-16 --version=v2-alpha-tpuv5-lite \
#     --spot --workers=4 -- --config=configs/flow.py:size=xl,latents=/shared/runs/kl --workdir=/shared/runs/xl
#
# What follows -- is the launcher's. --workdir must be a folder that all workers see (Filestore, or
# a bucket mounted by gcsfuse): a run goes on from its newest checkpoint there. Options:
#
#   --name=NAME, --zone=ZONE   the TPU VM
#   --workers=N                how many hosts it has (v5litepod-16: 4)
#   --type=T --version=V       creates it where it is not there, and again when it was preempted
#   --spot                     created as a spot VM
#   --setup=COMMAND            run on each worker before every start, to mount the disk; it may be there
#   --restarts=N               how often training is started again (100)
#   --project=P                of Google Cloud, if not gcloud's own
#   --launcher=FILE            of launch/, what the workers run: train.py, or benchmark.py
#   --local=N                  the same as N processes on this machine, no cloud
#   --dry-run                  prints every command, and does nothing
#
# Exit codes are the launcher's: 0 done, 1 failed, 2 bad input, 143 stopped (a signal to this script goes
# to all workers; training saves). Started again is what was preempted or cut off (143, 255, or a VM that
# is gone).
set -euo pipefail

fail() {
  echo "error: $1" >&2
  exit 2
}

name='' zone='' workers='' type='' version='' setup='' project='' processes=''
spot='' dry='' restarts=100 launcher=train.py
while (($#)); do
  case $1 in
    --name=*) name=${1#*=} ;;
    --zone=*) zone=${1#*=} ;;
    --workers=*) workers=${1#*=} ;;
    --type=*) type=${1#*=} ;;
    --version=*) version=${1#*=} ;;
    --setup=*) setup=${1#*=} ;;
    --restarts=*) restarts=${1#*=} ;;
    --project=*) project=${1#*=} ;;
    --launcher=*) launcher=${1#*=} ;;
    --local=*) processes=${1#*=} ;;
    --spot) spot=1 ;;
    --dry-run) dry=1 ;;
    --help)
      sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    --)
      shift
      break
      ;;
    *) fail "$1 is no option; --help names them, and what is the launcher's comes after --" ;;
  esac
  shift
done
(($#)) || fail "nothing after --; allowed: the flags of launch/$launcher"

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
[[ $launcher == train.py || $launcher == benchmark.py ]] ||
  fail "--launcher=$launcher; allowed: train.py, benchmark.py"
if [[ $processes ]]; then
  DRY_RUN=$dry LAUNCHER=$launcher exec "$root/launch/local.sh" "$processes" "$@"
fi
[[ $name && $zone ]] || fail "--name and --zone must be given, or --local=N"
# No more than so many digits: bash's numbers overflow without a word.
[[ $workers =~ ^[1-9][0-9]{0,3}$ ]] ||
  fail "--workers=$workers; allowed: how many hosts the pod has, 1 to 9999"
[[ $restarts =~ ^(0|[1-9][0-9]{0,5})$ ]] || fail "--restarts=$restarts; allowed: 0 to 999999"
[[ -z $type && -z $version || $type && $version ]] || fail "--type and --version go together"

[[ $dry ]] || command -v gcloud >/dev/null || fail "gcloud is not installed; allowed: --dry-run, --local=N"

where=(--zone="$zone" ${project:+--project="$project"})
cloud() {
  if [[ $dry ]]; then
    printf '%q ' gcloud compute tpus tpu-vm "$@"
    echo
  else
    gcloud compute tpus tpu-vm "$@"
  fi
}

on_workers() { # runs a command on every worker at once; ends with 2 if one did, else with a failure
  local number started=() result=0 code
  for ((number = 0; number < workers; number++)); do
    cloud ssh "$name" "${where[@]}" --worker="$number" \
      --ssh-flag='-o ServerAliveInterval=30' --command="$1" 2>&1 | sed -u "s/^/[$number] /" &
    started+=($!)
    if [[ $dry ]]; then wait $!; fi
  done
  for number in "${started[@]}"; do
    code=0
    wait "$number" || code=$?
    if ((code != 0 && result == 0 || code == 2)); then result=$code; fi
  done
  return "$result"
}

state() {
  if [[ $dry ]]; then
    echo MISSING
  else
    gcloud compute tpus tpu-vm describe "$name" "${where[@]}" --format='value(state)' 2>/dev/null ||
      echo MISSING
  fi
}

create() {
  case $1 in
    PREEMPTED | TERMINATED) cloud delete "$name" "${where[@]}" --quiet || return 1 ;;
    MISSING) ;;
    *) return 1 ;; # it is about to be something else
  esac
  cloud create "$name" "${where[@]}" --accelerator-type="$type" --version="$version" ${spot:+--spot}
}

prepare() { # a VM that is ready, with this code on it
  local found
  found=$(state)
  if [[ $found != READY && $type ]]; then
    create "$found" || return 1
  elif [[ $found != READY && ! $dry ]]; then
    echo "error: $name is $found; --type and --version would create it" >&2
    exit 1
  fi
  on_workers "${setup:+$setup && }mkdir -p mmgen_jax" || return 1
  cloud scp --recurse "$root"/{mmgen_jax,configs,launch,setup.py,pyproject.toml,README.md} \
    "$name":mmgen_jax/ "${where[@]}" --worker=all || return 1
  # uv brings a Python that is new enough; images of TPU VMs may have an older one.
  on_workers "cd mmgen_jax && python3 -m pip install --quiet --user uv && export PATH=~/.local/bin:\$PATH \
&& uv venv --quiet --allow-existing --python=3.12 .venv && uv pip install --quiet --editable='.[tpu]'"
}

# shellcheck disable=SC2329 # the trap calls it
stop() {
  stopped=1
  on_workers "pkill -TERM -f launch/$launcher" || true
}
stopped=''
trap stop TERM INT

train=$(printf '%q ' "$@")
for ((attempt = 0; attempt <= restarts; attempt++)); do
  code=255
  if prepare; then
    code=0
    # The lock keeps a second training from a worker where one still runs that was cut off.
    on_workers "cd mmgen_jax && exec flock --nonblock --conflict-exit-code=255 .lock \
.venv/bin/python launch/$launcher ${train% }" || code=$?
  fi
  if [[ $dry || $stopped ]] || ((code == 0 || code == 2)); then exit "$code"; fi
  found=$(state)
  if ((code != 143 && code != 255)) && [[ $found == READY ]]; then exit "$code"; fi
  echo "$launcher ended with $code; the VM is $found" >&2
  if ((attempt < restarts)); then sleep 60; fi
done
exit "$code"
