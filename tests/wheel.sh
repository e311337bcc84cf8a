#!/usr/bin/env bash
# Prove that the wheel stands alone: a clean environment outside the checkout scores with the embedded pair, renders a
# notebook cell from the shipped templates, and finds the shipped schema. It has less than 30 MB, with all pairs.
set -euo pipefail
python=$1 torch=$2 wheel=$(realpath "$3")
size=$(wc -c <"$wheel")
if [ "$size" -gt 30000000 ]; then
    echo "the wheel has $size bytes, more than 30 MB" >&2
    exit 1
fi
clean=$(mktemp -d)
trap 'rm -rf "$clean"' EXIT
"$python" -m venv "$clean/venv"
"$clean/venv/bin/python" -m pip install --quiet "$torch"
"$clean/venv/bin/python" -m pip install --quiet "$wheel"
cd "$clean"
export HF_HOME=$clean/hub  # nothing was fetched: the embedded pair is the default
printf 'I earn $50K and they offer $90K.\n\nTL;DR: They offer $90K.\n' > post.txt
venv/bin/dpo-credit score post.txt --json scored.json --html page.html
venv/bin/python - <<'PY'
import json
from pathlib import Path

import dpo_credit
from dpo_credit import Example, load_pair, score

assert ".venv" not in dpo_credit.__file__ and "site-packages" in dpo_credit.__file__, dpo_credit.__file__
record = json.loads(Path("scored.json").read_text())
(answer,) = record["credit"]["answers"]
assert answer["policy"] == "embedded policy", answer["policy"]
(credit,) = score(load_pair(), [Example("TL;DR:", " They offer $90K.")])
assert "<span" in credit._repr_html_()
assert (Path(dpo_credit.__file__).parent / "rows" / "schema.json").is_file()
assert (Path(dpo_credit.__file__).parent / "py.typed").is_file()
assert "<style" in Path("page.html").read_text()
print("the wheel scores, renders and ships its schema")
PY
