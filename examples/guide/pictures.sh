#!/usr/bin/env bash
# Remake the guide's own pictures from real output. Needs Chromium.
# Usage: examples/guide/pictures.sh [FOLDER of the dpo-credit program]
set -euo pipefail
examples=$(cd "$(dirname "$0")/.." && pwd)
program=$(command -v "${1:+$(cd "$1" && pwd)/}dpo-credit")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"

shoot() {
  chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size="$3" --screenshot="$2" "file://$PWD/$1" \
      2>/dev/null
  mv "$2" "$examples/pictures/$2"
}

"$program" score "$examples/offer.json" --json scored.json --quiet >/dev/null
"$program" render scored.json --heatmap "$examples/pictures/render.svg" --style paper --width-in 3.25 --quiet >/dev/null
"$program" diff "$examples/porto.json" --heatmap "$examples/pictures/folded.svg" --by word --around-edits 5 --quiet >/dev/null
"$program" mdp "$examples/grid.jsonl" --row 1 --png "$examples/pictures/mdp.svg" --quiet >/dev/null
"$program" image diff "$examples/image/chosen.png" "$examples/image/rejected.png" --quiet \
    --prompt "a red triangle left of a green square" --png "$examples/pictures/image.png" >/dev/null
"$program" refine "$examples/refine/rows.jsonl" --id clip --png "$examples/pictures/refine.png" --quiet >/dev/null
"$program" batch "$examples/free_prose.jsonl" -o free_prose.jsonl --quiet
"$program" report free_prose.jsonl --html report.html --quiet >/dev/null
shoot report.html report.png 1180,930
"$program" localise "$examples/free_prose.jsonl" --by word --html localise.html --quiet >/dev/null
shoot localise.html localise.png 1180,930
