#!/usr/bin/env bash
# Remake the README's pictures from real output. Usage: examples/pictures.sh [FOLDER of the dpo-credit program]
set -euo pipefail
examples=$(cd "$(dirname "$0")" && pwd)
program="${1:+$(cd "$1" && pwd)/}dpo-credit"
cd "$examples"
COLUMNS=100 "$program" score job_offer.json --rows 3 --theme dark --svg pictures/score.svg --quiet >/dev/null
"$program" diff job_offer.json --heatmap pictures/figure1.png --quiet >/dev/null
