#!/usr/bin/env bash
# Runs a launcher as several processes on this machine, as a pod would:
#
#   launch/local.sh 2 --config=configs/flow.py:data=shapes,size=tiny --workdir=runs/flow
#
# Each process's lines begin with its number. Ends with 0 if all did, else with the first process's
# exit code that is not 0 and not another's death. A signal goes to all; they save, and it ends with 143.
# PYTHON names the interpreter (.venv/bin/python), LAUNCHER what of launch/ it runs (train.py, which
# benchmark.py may stand for); DRY_RUN=1 prints the commands instead.
set -euo pipefail

# No more than three digits: bash's numbers overflow without a word.
if [[ ! ${1:-} =~ ^[1-9][0-9]{0,2}$ ]]; then
  echo "error: ${1:-nothing} where the number of processes is expected; allowed: 1 to 999" >&2
  exit 2
fi
processes=$1
shift

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
# A port that nobody listens at.
port=$("$python" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')

started=() lines=() stopped=''
# shellcheck disable=SC2329 # the trap calls it
stop() {
  stopped=1
  kill -TERM "${started[@]}" 2>/dev/null || true
}
trap stop TERM INT

for ((number = 0; number < processes; number++)); do
  command=(env "JAX_COORDINATOR_ADDRESS=127.0.0.1:$port" "JAX_NUM_PROCESSES=$processes"
    "JAX_PROCESS_ID=$number" "$python" "$root/launch/${LAUNCHER:-train.py}" "$@")
  if [[ ${DRY_RUN:-} ]]; then
    printf '[%d] ' "$number"
    printf '%q ' "${command[@]}"
    echo
    continue
  fi
  [[ $stopped ]] && break
  "${command[@]}" 2>&1 | sed -u "s/^/[$number] /" &
  lines+=($!) # with pipefail, its end is the command's
  started+=("$(jobs -p %%)")
done

result=0
for process in "${lines[@]}"; do
  code=0
  wait "$process" || code=$?
  # A signal to this script ends the wait, not the process.
  while kill -0 "$process" 2>/dev/null; do
    code=0
    wait "$process" || code=$?
  done
  if ((code != 0 && (result == 0 || result == 1))); then
    result=$code
  fi
done
exit "$result"
