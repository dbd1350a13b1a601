"""Rules for bins in the words of a lab: titles and units of figures in place of their keys."""

from labctl.config.bins import Bound
from labctl.core.figure import Figures

_VALUES = ": it is "


def in_words(when: str, declared: Figures) -> str:
    """Return the condition of a rule with the names and units of figures for people.

    >>> from labctl.core.figure import Figure
    >>> tmr = Figure("tmr", "TMR", "", shown_unit="%", factor=100.0, digits=1, by_size=True)
    >>> in_words("tmr[60 nm] < 60 % and tmr[80 nm] < 0.7", Figures([tmr]))
    'TMR, 60 nm < 60.0 % and TMR, 80 nm < 70.0 %'
    """
    parts = [Bound.parse(part) for part in when.split(" and ")]
    figures = [declared[bound.figure] for bound in parts]
    texts = (f"{f.title} {bound.sign} {f.text(bound.value)}" for f, bound in zip(figures, parts, strict=True))
    return " and ".join(texts)


def rule_in_words(rule: str, declared: Figures) -> str:
    """Return the rule that gave a bin, as `labctl.config.bins.bin_of` stores it, with its condition in words.

    >>> from labctl.core.figure import Figure
    >>> accuracy = Figure("accuracy_test", "accuracy", "", shown_unit="%", factor=100.0, digits=1)
    >>> rule_in_words("accuracy_test < 85 %: it is 38.7 %", Figures([accuracy]))
    'accuracy < 85.0 %: it is 38.7 %'
    >>> rule_in_words("within all limits", Figures([accuracy]))
    'within all limits'
    """
    when, _, values = rule.partition(_VALUES)
    try:
        return f"{in_words(when, declared)}{_VALUES}{values}" if values else rule
    except ValueError:  # of a later version
        return rule
