"""People's annotations of wrong answers as rows that `dpo-credit localise` reads, one a line on stdout.

    python examples/annotations.py ragtruth response.jsonl source_info.jsonl > rows.jsonl
    python examples/annotations.py faithbench batch_1.json batch_2.json > rows.jsonl
    python examples/annotations.py frank human_annotations_sentence.json > rows.jsonl

Where the data has no prompt of its own, it is the source and "TL;DR:"; with --chat, for pairs with a chat template, a
prompt is a message of the user, and asks for a summary in words. The files are those of ParticleMedia/RAGTruth
(dataset), vectara/FaithBench (data_for_release) and artidoro/frank (data) on GitHub; what of them counts as
wrong stands at each function.
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
            yield summary(
                f"{file.stem}-{sample['sample_id']}",
                sample["metadata"]["summarizer"],
                sample["source"],
                sample["summary"],
                labels,
            )


def frank(files: list[Path]) -> Iterator[Row]:
    """Every sentence that most annotators find an error in, as a whole: FRANK has no spans within sentences."""
    for file in files:
        for entry in json.loads(file.read_text(encoding="utf-8")):
            labels, text = [], ""
            votes = entry["summary_sentences_annotations"]
            for sentence, by_annotator in zip(entry["summary_sentences"], votes, strict=True):
                wrong = [errors for errors in by_annotator.values() if "NoE" not in errors]
                text += " " * bool(text)
                if 2 * len(wrong) > len(by_annotator):
                    kind, _ = Counter(error for errors in wrong for error in errors).most_common(1)[0]
                    labels.append(label_of(len(text), sentence, kind))
                text += sentence
            name = f"{entry['hash']}-{entry['model_name']}"
            yield summary(name, entry["model_name"], entry["article"], text, labels)


def label_of(start: int, text: str, kind: str) -> Row:
    return {"start": start, "end": start + len(text), "text": text, "kind": kind}


def summary(name: str, model: str, source: str, text: str, labels: list[Row]) -> Row:
    return {"id": name, "model": model, "source": source, "completion": text, "labels": labels}


def as_text(row: Row) -> Row:
    """A summary after its source and "TL;DR:", and a space, where it begins with none."""
    if "source" not in row:
        return row
    shift = not row["completion"].startswith(" ")
    labels = [{**label, "start": label["start"] + shift, "end": label["end"] + shift} for label in row["labels"]]
    own = {name: value for name, value in row.items() if name != "source"}
    prompt, completion = f"{row['source']}\n\nTL;DR:", " " * shift + row["completion"]
    return {**own, "prompt": prompt, "completion": completion, "labels": labels}


def as_chat(row: Row) -> Row:
    """An answer to a message of the user; messages' text begins with no space, so nothing moves."""
    own = {name: value for name, value in row.items() if name != "source"}
    content = row["prompt"] if "prompt" in row else f"Summarize this text.\n\n{row['source']}"
    return {**own, "prompt": [{"role": "user", "content": content}]}


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
        print(json.dumps(as_chat(row) if given.chat else as_text(row), ensure_ascii=False))


if __name__ == "__main__":
    main()
