#!/usr/bin/env bash
# Remake the README's pictures and the guide's from real output. Needs Chromium. Usage: examples/pictures.sh [FOLDER of the program]
set -euo pipefail
examples=$(cd "$(dirname "$0")" && pwd)
program=$(command -v "${1:+$(cd "$1" && pwd)/}dpo-credit")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$examples"
COLUMNS=100 "$program" score offer.json --by word --rows 3 --theme dark --svg pictures/score.svg --quiet >/dev/null
./figure1.sh "$scratch" "${program%/*}" >/dev/null
cp "$scratch/figure1.png" pictures/figure1.png
chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1180,1195 \
    --screenshot=pictures/page.png "file://$scratch/figure1.html" 2>/dev/null
guide/pictures.sh "${program%/*}"
