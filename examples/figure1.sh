#!/usr/bin/env bash
# The paper's Figure 1 on the default pair: a right and a wrong summary of a job offer, as a page, figures and JSON.
# Usage: examples/figure1.sh [FOLDER for what it writes] [FOLDER of the dpo-credit program]
set -euo pipefail
examples=$(cd "$(dirname "$0")" && pwd)
out=${1:-figure1}
program="${2:+$2/}dpo-credit"
mkdir -p "$out"
"$program" diff "$examples/offer.json" --by word --top-k 3 --html "$out/figure1.html" --heatmap "$out/figure1.png" \
    --json "$out/figure1.json" --quiet
"$program" render "$out/figure1.json" --heatmap "$out/figure1.pdf" --style paper --width-in 3.25 --json /dev/null >/dev/null
echo "wrote $out/figure1.html, figure1.png, figure1.pdf and figure1.json" >&2
