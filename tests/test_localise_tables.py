"""`localise` for a paper: answers that share prompts, groups of answers, CSV and LaTeX, and numbers on one line."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from pages import credit
from program import run
from rich.console import Console

from dpo_credit.credit import Example
from dpo_credit.localise.labels import Case, Error
from dpo_credit.localise.localise import Options, measure
from dpo_credit.localise.localised import LocaliseReport
from dpo_credit.localise.scores import Beyond
from dpo_credit.localise.tables import format_of, tables, to_csv, to_latex
from dpo_credit.views.look import Look
from dpo_credit.views.terminal.localise import render

pytestmark = pytest.mark.usefixtures("few_resamples")
SYSTEMS = ["gpt_4 & co {100%}", "~llama\\^", "[*a\nb<c>|#$ π"]


def made(answers: int = 24, prompts: int = 24, group_by: str | None = None, chat: str = "P") -> LocaliseReport:
    """Answers " a b c d" in which a and c are wrong; the reward's lowest is a, b, c or d in turns."""
    cases, credits = [], []
    for n in range(answers):
        rewards = [-1.0, -1.5, -0.5, -1.25]
        rewards[n // 3 % 4] = -4.0
        credits.append(credit([" a", " b", " c", " d"], rewards))
        text = credits[-1].tokens.answer
        prompt = f"{chat}{n % prompts}:" if chat else ""
        cases.append(Case(f"{n}", Example(prompt, text), (Error(1, 2), Error(5, 6)), None, "", SYSTEMS[n % 3]))
    beyond = [Beyond([0.0, 1.0, 2.0, 0.5, 0.0])] * answers
    return measure(cases, credits, [None] * answers, beyond, Options(group_by=group_by)).report


def shown(report: LocaliseReport, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None, markup=False, highlight=False)
    console.print(render(report, Look(colours="none", width=width)))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_answers_to_one_prompt_are_resampled_together_and_the_output_says_so() -> None:
    apart, together = made(), made(prompts=8)
    assert (apart.prompts, together.prompts) == (24, 8)
    widths = []
    for report in (apart, together):
        within = report.finding("-reward").auroc_within
        assert within.low is not None and within.high is not None
        widths.append(within.high - within.low)
    # answers n, n + 8 and n + 16 differ, so that only what is drawn together can tell the two apart
    assert widths[0] != widths[1]
    said = " ".join(" ".join(shown(together, 80)).split())
    assert "24 wrong answers to 8 prompts" in said
    assert "by prompt: 24 answers stand on 8 prompts, so all answers to a prompt are drawn together" in said
    assert "prompts" not in " ".join(shown(apart, 80))
    assert "intervals by answer" in " ".join(shown(apart, 80))
    assert "only 8 prompts: the intervals are rough" in together.notes


def test_answers_without_a_prompt_share_none() -> None:
    assert made(chat="").prompts == 24


def test_one_prompt_has_numbers_without_intervals_and_no_verdict() -> None:
    report = made(prompts=1)
    within = report.finding("-reward").auroc_within
    assert within.value is not None and (within.low, within.high) == (None, None)
    assert {comparison.p for comparison in report.comparisons} == {1.0}
    assert any("one prompt, which cannot be resampled" in note for note in report.notes)
    assert "24 wrong answers to one prompt" in shown(report, 80)[0]
    assert report.resamples == 0 and "nan" not in to_latex(report)


def test_groups_are_measured_on_their_own_answers() -> None:
    report = made(answers=25, prompts=25, group_by="system")
    assert [(group.name, group.answers) for group in report.answer_groups] == [
        (SYSTEMS[0], 9),
        (SYSTEMS[2], 8),
        (SYSTEMS[1], 8),
    ]
    # the lowest is a, b, c, d, a, b, c, d, a in the first group's answers 0, 3, 6, ...: a or c in 5 of 9
    assert report.answer_groups[0].reward_top_1.value == pytest.approx(5 / 9)
    order = {
        "a": [-4, -1.5, -0.5, -1.25],
        "b": [-1, -4, -0.5, -1.25],
        "c": [-1, -1.5, -4, -1.25],
        "d": [-1, -1.5, -0.5, -4],
    }
    areas = {
        name: sum(rewards[wrong] < rewards[right] for wrong in (0, 2) for right in (1, 3)) / 4
        for name, rewards in order.items()
    }
    assert report.answer_groups[0].reward.value == pytest.approx(sum(areas[name] for name in "abcdabcda") / 9)
    assert made().answer_groups == []


def test_a_group_on_few_prompts_has_no_interval() -> None:
    few = made(answers=24, prompts=4, group_by="system")
    assert {group.prompts for group in few.answer_groups} == {4}
    assert [group.reward.low for group in few.answer_groups] == [None] * 3


def test_the_csv_holds_every_number_unrounded() -> None:
    report = made(prompts=8, group_by="system")
    lines = list(csv.DictReader(io.StringIO(to_csv(report), newline="")))
    assert len(lines) == sum(len(table.headings) * len(table.rows) for table in tables(report))
    found = {(line["table"], line["row"], line["column"]): line for line in lines}
    within = report.finding("-reward").auroc_within
    line = found["scores", "-reward", "AUROC within"]
    assert (float(line["value"]), float(line["low"]), float(line["high"])) == (within.value, within.low, within.high)
    assert float(found["comparisons", "-log pi", "p"]["value"]) == report.comparisons[0].p
    assert found["groups", SYSTEMS[2], "prompts"]["value"] == "8"


def test_the_latex_has_balanced_tables_whose_text_is_escaped() -> None:
    report = made(prompts=8, group_by="sys_tem")
    text = to_latex(report)
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == len(tables(report))
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == len(tables(report))
    for name in (
        r"gpt\_4 \& co \{100\%\}",
        r"\textasciitilde{}llama\textbackslash{}\textasciicircum{}",
        r"{[}{*}a b\textless{}c\textgreater{}\textbar{}\#\$ $\pi$",
        r"$-$log $\pi_{\mathrm{ref}}$",
    ):
        assert re.search(rf"^    {re.escape(name)} & ", text, re.MULTILINE), name
    assert r"By sys\_tem" in text and r"24 answers stand on 8 prompts" in text
    for begun in re.findall(r"\\begin\{tabular\}\{(l r*|lr+)\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        columns, body = begun
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(columns) - 1}
    assert not re.search(r"(?<![\\$])-\d", text)  # a minus is no hyphen


def test_a_score_of_one_keeps_the_tables_within_80_columns_and_every_number_whole() -> None:
    report = made(answers=60, prompts=60, group_by="system")
    wide = replace(
        report,
        units=123_456,
        groups=[replace(part, units=123_456, wrong_units=12_345, errors=1234) for part in report.groups],
    )
    lines = shown(wide, 80)
    assert max(map(len, lines)) <= 80
    # with room for all, no number looks another way
    numbers = re.compile(r"[+−]?\.?\d[\d.,]*(?:–[\d.]+)?|\[[+−][^\]]*\]")
    tables_from = next(n for n, line in enumerate(lines) if line.startswith("score") or "AUROC of" in line)
    broad = shown(wide, 200)
    broad_from = next(n for n, line in enumerate(broad) if line.startswith("score") or "AUROC of" in line)
    found, expected = (sorted(numbers.findall("\n".join(text))) for text in (lines[tables_from:], broad[broad_from:]))
    assert found == expected


def test_the_sentence_keeps_a_number_with_its_interval() -> None:
    for width in range(40, 120, 7):
        lines = shown(made(prompts=8), width)
        said = "\n".join(lines[: lines.index("")])
        for whole in re.findall(r"\[[^\]]*\]|p\s=\s[\d.]+", said):
            assert "\n" not in whole


def test_a_table_of_another_name_is_refused() -> None:
    ended = run("localise", "rows.jsonl", "--table", "out.txt")
    assert ended.code == 2 and "--table out.txt must end in .csv or .tex" in ended.stderr
    assert format_of("A.TEX") is to_latex


def test_the_command_limits_groups_and_writes_tables(tmp_path: Path, pair: tuple[str, ...]) -> None:
    row = {"prompt": "My landlord", "answer": " raised the rent."}
    rows = [{**row, "id": f"{n}", "labels": [{"start": 1, "end": 7}], "model": n % 2} for n in range(6)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in [*rows, {"not": "read"}]))
    outputs = ("--table", tmp_path / "out.csv", "--table", tmp_path / "out.tex", "--json", "-")
    ended = run("localise", file, *pair, "--limit", "5", "--group-by", "model", *outputs)
    assert ended.code in (0, None), ended.stderr
    found = json.loads(ended.stdout)
    assert (found["answers"], found["prompts"], found["group_by"]) == (5, 1, "model")
    assert [(group["name"], group["answers"]) for group in found["answer_groups"]] == [("0", 3), ("1", 2)]
    assert (tmp_path / "out.csv").read_text().startswith("table,row,column,value,low,high")
    assert (tmp_path / "out.tex").read_text().startswith(r"\begin{table}")
    ended = run("localise", file, *pair, "--limit", "5", "--group-by", "system")
    assert ended.code == 2 and "no field 'system' (--group-by); the row has 'prompt', 'answer'" in ended.stderr
    ended = run("localise", file, *pair, "--table", file.with_suffix(".tex"), "--json", file.with_suffix(".tex"))
    assert ended.code == 2 and "would be one file" in ended.stderr
