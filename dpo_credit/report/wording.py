"""How a report on scored rows is put into words, whatever shows it."""

from __future__ import annotations

from dpo_credit.report.figures import Report, SourceFigures
from dpo_credit.report.words import Place, WordFigures


def beta_of(source: SourceFigures) -> str:
    """What a nat is multiplied with."""
    return f"beta {source.beta:g}" + " / T (length-normalised)" * source.length_normalised


def place_name(place: Place, report: Report) -> str:
    """A row's id and its line, with the file where there are several."""
    source = f"{place.source} " if len(report.files) > 1 else ""
    return f"{place.id} ({source}line {place.line})"


def count_of_words(words: WordFigures) -> str:
    """How many words there are, and how many of them would be listed by chance."""
    chance = 0.025 * words.frequent
    return (
        f"{words.frequent:,} of {words.distinct:,} words occur in {words.min_rows} rows or more: "
        f"{words.clearly_rewarded:,} clearly rewarded, {words.clearly_punished:,} clearly punished (by chance alone, "
        f"about {chance:.{0 if chance >= 1 else 1}f} of each)"
    )
