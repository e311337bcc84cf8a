"""How a report on scored rows is put into words, whatever shows it."""

from __future__ import annotations

from dpo_credit.report.figures import Report, RowFigures, SourceFigures
from dpo_credit.report.words import Place, WordFigures


def beta_of(source: SourceFigures) -> str:
    """What a nat is multiplied with."""
    return f"beta {source.beta:g}" + " / T (length-normalised)" * source.length_normalised


def place_name(place: Place, report: Report) -> str:
    """A row's id and its line, with the file where there are several."""
    source = f"{place.source} " if len(report.files) > 1 else ""
    return f"{place.id} ({source}line {place.line})"


def short(text: str, most: int) -> str:
    """A text on one line, cut off after so many characters; white space alone as the signs that stand for it."""
    line = " ".join(text.split()) or text.replace(" ", "␣").replace("\n", "↵").replace("\t", "⇥")
    return line if len(line) <= most else line[: most - 1] + "…"


def lengths(row: RowFigures) -> str:
    """How many tokens a row's answers have."""
    return " / ".join(f"{count:,}" for count in row.tokens)


def carried_by(row: RowFigures, report: Report) -> str:
    """Whose sentence or token it is that carries most of a row's value."""
    carrier = row.carrier
    if report.pairs is not None:
        return f"{('chosen', 'rejected')[carrier.answer]} {carrier.unit}"
    return carrier.unit if len(row.tokens) == 1 else f"{carrier.unit} of answer {carrier.answer}"


def count_of_words(words: WordFigures) -> str:
    """How many words there are, and how many of them would be listed by chance."""
    chance = 0.025 * words.frequent
    return (
        f"{words.frequent:,} of {words.distinct:,} words occur in {words.min_rows} rows or more: "
        f"{words.clearly_rewarded:,} clearly rewarded, {words.clearly_punished:,} clearly punished (by chance alone, "
        f"about {chance:.{0 if chance >= 1 else 1}f} of each)"
    )
