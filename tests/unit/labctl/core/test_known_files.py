"""What files are called that no reader understands, and what must not be called anything else."""

import pytest

from labctl.core.known_files import what_is
from labctl.core.known_texts import YAML
from tests.foreign_files import files

FILES = files()


@pytest.mark.parametrize("label", FILES)
def test_a_file_is_called_what_it_is_by_its_content(label: str) -> None:
    content, name = FILES[label]
    assert what_is(content).startswith(name)


@pytest.mark.parametrize(
    "text",
    [
        "# A campaign\n# with remarks\nname: c\nlimits: {v_towards_p: 700 mV\n",
        "# Title\nname: c\n\n- a\n- b\n",
        "name: c\nstages:\n  - survey: {}\n  - network\n\tx: y\n",
        "name = c\nseed: 1\nlimits:\n  width: 1 ms\n",
        "name: c\ntitle: a = b\nnotify:\n  command: [./tell]\n",
    ],
)
def test_a_slip_in_a_file_of_ours_makes_it_no_other_kind(text: str) -> None:
    assert what_is(text.encode()) == YAML


@pytest.mark.parametrize("text", ["", "7", "x,y\n1,2,3\n4\n", ".X.\nXXX\n", "größer"])
def test_what_has_no_form_is_called_nothing(text: str) -> None:
    assert what_is(text.encode()) == ""


@pytest.mark.parametrize(
    "part",
    [
        "[",
        "[a](",
        "`",
        "a=",
        "a: ",
        "- ",
        "{",
        "|",
        "# ",
        "\t",
        "N\n",
        "(lp0\n",
        "[a]\n",
        "a\n=\n",
        "<",
        "<!--",
        "\u20ac",
        "x y ",
    ],
)
def test_a_text_of_megabytes_is_judged_in_a_moment(part: str) -> None:
    """A form that took the square of the length would not end within the patience of the suite."""
    for text in (part * (4_000_000 // len(part)), (part * 200 + "\n") * 5000, part * 30_000 + "."):
        assert isinstance(what_is(text.encode()), str)
