#!/usr/bin/env bash
# Remake the README's pictures from real output. Needs Chromium. Usage: examples/pictures.sh [FOLDER of the program]
set -euo pipefail
examples=$(cd "$(dirname "$0")" && pwd)
program="${1:+$(cd "$1" && pwd)/}dpo-credit"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$examples"
COLUMNS=100 "$program" score vet.json --rows 3 --theme dark --svg pictures/score.svg --quiet >/dev/null
"$program" diff vet.json --by word --top-k 3 --html "$scratch/page.html" --heatmap pictures/figure1.png --quiet >/dev/null
chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1180,1010 \
    --screenshot=pictures/page.png "file://$scratch/page.html" 2>/dev/null
