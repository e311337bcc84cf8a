"""People's annotations of wrong answers as rows that `dpo-credit localise` reads, one a line on stdout.

    python examples/annotations.py ragtruth response.jsonl source_info.jsonl > rows.jsonl
    python examples/annotations.py faithbench batch_1.json batch_2.json > rows.jsonl
    python examples/annotations.py frank human_annotations_sentence.json > rows.jsonl

With --chat a prompt is a message of the user, for pairs with a chat template; without, text that ends in "TL;DR:" where
the data has no prompt of its own. The files are those of ParticleMedia/RAGTruth (dataset), vectara/FaithBench
(data_for_release) and artidoro/frank (data) on GitHub; what of them counts as wrong stands at each function.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def ragtruth(files: list[Path]) -> Iterator[Row]:
    """Every annotated span, but those that are true and only not in the source (`implicit_true`).

    Answers of another `quality` than "good" (refusals, answers that were cut off) are left out.
    """
    responses, sources = files
    prompts = {source["source_id"]: source["prompt"] for source in lines_of(sources)}
    for response in lines_of(responses):
        if response["quality"] == "good":
            labels = [label for label in response["labels"] if not label.get("implicit_true")]
            yield {
                "id": response["id"],
                "model": response["model"],
                "prompt": prompts[response["source_id"]],
                "completion": response["response"],
                "labels": [label_of(label["start"], label["text"], label["label_type"]) for label in labels],
            }


def faithbench(files: list[Path]) -> Iterator[Row]:
    """Every span that an annotator calls "Unwanted"; "Questionable" and "Benign" ones are no errors."""
    for file in files:
        for sample in json.loads(file.read_text(encoding="utf-8"))["samples"]:
            unwanted = [mark for mark in sample["annotations"] if "Unwanted" in mark["label"]]
            labels = [label_of(mark["summary_start"], mark["summary_span"], mark["label"][-1]) for mark in unwanted]
            yield summary_row(
                f"{file.stem}-{sample['sample_id']}",
                sample["metadata"]["summarizer"],
                sample["source"],
                sample["summary"],
                labels,
            )


def frank(files: list[Path]) -> Iterator[Row]:
    """Every sentence that most annotators find an error in, as a whole: FRANK has no spans within sentences."""
    for file in files:
        for summary in json.loads(file.read_text(encoding="utf-8")):
            labels, text = [], ""
            votes = summary["summary_sentences_annotations"]
            for sentence, by_annotator in zip(summary["summary_sentences"], votes, strict=True):
                wrong = [errors for errors in by_annotator.values() if "NoE" not in errors]
                text += " " * bool(text)
                if 2 * len(wrong) > len(by_annotator):
                    kind, _ = Counter(error for errors in wrong for error in errors).most_common(1)[0]
                    labels.append(label_of(len(text), sentence, kind))
                text += sentence
            name = f"{summary['hash']}-{summary['model_name']}"
            yield summary_row(name, summary["model_name"], summary["article"], text, labels)


def label_of(start: int, text: str, kind: str) -> Row:
    return {"start": start, "end": start + len(text), "text": text, "kind": kind}


def summary_row(name: str, model: str, source: str, summary: str, labels: list[Row]) -> Row:
    """A summary after its source and "TL;DR:", and a space, where it begins with none."""
    shift = not summary.startswith(" ")
    moved = [{**label, "start": label["start"] + shift, "end": label["end"] + shift} for label in labels]
    prompt, completion = f"{source}\n\nTL;DR:", " " * shift + summary
    return {"id": name, "model": model, "prompt": prompt, "completion": completion, "labels": moved}


def as_chat(row: Row) -> Row:
    return {**row, "prompt": [{"role": "user", "content": row["prompt"]}]}


def lines_of(file: Path) -> Iterator[Row]:
    with file.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def main(arguments: list[str] | None = None) -> None:
    """Read the files of one data set and print its rows."""
    sets = {"ragtruth": ragtruth, "faithbench": faithbench, "frank": frank}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=sets)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--chat", action="store_true", help="prompts as messages")
    given = parser.parse_args(arguments)
    for row in sets[given.data](given.files):
        print(json.dumps(as_chat(row) if given.chat else row, ensure_ascii=False))


if __name__ == "__main__":
    main()
