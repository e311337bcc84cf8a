#!/bin/sh
# On a machine with a CUDA device, without a network: sh tests/gpu/run.sh [SHAPE WORK | tests] ...
# Without arguments, the tests. DATA holds pairs.jsonl and many.jsonl (rows are made up without them); what is measured
# goes to $OUT. Packages that the machine lacks are found on PYTHONPATH.
set -e
cd "$(dirname "$0")/../.."
export PYTHONPATH=".:tests:tests/bench${PYTHONPATH:+:$PYTHONPATH}"
data=""
[ -n "$DATA" ] && data="--data $DATA/pairs.jsonl --many $DATA/many.jsonl"
if [ $# = 0 ] || [ "$1" = tests ]; then
    workers=$(python3 -c "import xdist; print('-n 8')" 2>/dev/null) || workers="" # each compiles kernels of its own
    # shellcheck disable=SC2086
    python3 -m pytest tests/gpu -m gpu -q -p no:cacheprovider -W ignore --show-capture=no $workers
    exit
fi
while [ $# -ge 2 ]; do
    # shellcheck disable=SC2086
    python3 tests/gpu/bench_gpu.py --shape "$1" --work "$2" --pipeline $data --out "${OUT:-.}"
    shift 2
done
