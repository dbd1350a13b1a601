"""The page: one file that loads nothing, in which every link has its end and every number its words."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from labctl.core.die_state import FINAL
from labctl.core.errors import StorageError
from labctl.core.texts import odd_character
from labctl.report import html
from labctl.report.html import page, write_report
from labctl.report.page_parts import headline
from labctl.report.report_data import gather
from labctl.report.wafer_maps_svg import maps
from labctl.storage.identity import Identity
from labctl.wafer_maps import palette
from labctl.wafer_maps.picture import shade

Night = Callable[[str], Path]
VOID = {"meta", "link", "input", "br", "hr", "img"}


class Reader(HTMLParser):
    """Collects elements, and fails on tags that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.texts.setdefault(self.open[-1], []).append(data.strip())

    def all(self, tag: str, **attrs: str) -> list[dict[str, str | None]]:
        return [a for t, a in self.found if t == tag and all(a.get(k.strip("_")) == v for k, v in attrs.items())]


@pytest.fixture(params=["start", "kill", "end"])
def read(request: pytest.FixtureRequest, night: Night) -> Reader:
    folder = night(request.param)
    return Reader(page(gather(folder), folder))


def test_nothing_is_loaded(read: Reader) -> None:
    for tag, attrs in read.found:
        assert "src" not in attrs
        target = attrs.get("href") or ""
        assert not re.match(r"(https?:|//)", target), target
        if tag == "link":
            assert target == "data:,"
    style = "".join(read.texts["style"])
    assert "@import" not in style
    assert "url(" not in style


def test_every_link_has_its_end_and_every_id_is_one(read: Reader) -> None:
    ids = Counter(a["id"] for _, a in read.found if "id" in a)
    assert set(ids.values()) == {1}
    for attrs in read.all("a"):
        target = attrs["href"] or ""
        if target.startswith("#"):
            assert target[1:] in ids, target


def test_every_die_is_on_every_map_with_words_for_pointer_and_reader(read: Reader) -> None:
    panels = [a["data-map"] for _, a in read.found if "data-map" in a]
    assert panels[0] == "bin"
    dies = read.all("a", class_="die")
    assert len(dies) == 7 * len(panels)
    assert all(d["aria-label"] and d["data-say"] == d["aria-label"] for d in dies)
    assert [a["value"] for a in read.all("input", name="map")] == panels
    assert all(a.get("aria-label") for a in [*read.all("svg", class_="map"), *read.all("svg", class_="chart")])


def test_the_map_says_the_numbers(night: Night) -> None:
    read = Reader(page(gather(night("kill")), night("kill")))
    said = [d["data-say"] for d in read.all("a", class_="die", href="#die-B")]
    assert "B: write fidelity 97.50 %; low-fidelity" in said
    assert "B: R_P 2.50 kΩ; low-fidelity" in said
    assert "B: contact resistance 6.0 Ω; low-fidelity" in said
    assert said[0] is not None
    assert "2 tries; in doubt: measured since the golden die" in said[0]
    assert next(d["data-say"] for d in read.all("a", class_="die", href="#die-F")) == "F: pending"


def test_texts_of_the_run_are_texts_and_no_markup(night: Night) -> None:
    text = page(gather(night("end")), night("end"))
    assert "six dies &lt;small &amp; good&gt;" in text
    assert "<small & good>" not in text
    assert "pads 1-2 &lt;open&gt;" in text
    assert "pads 1-2 <open>" not in text


def test_what_was_read_from_an_instrument_is_escaped_on_the_page_and_in_its_json(
    night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    garbled = "smu1 answered \x1b[2J\x9b\u202e\udce9"
    folder = tmp_path / "run"
    shutil.copytree(night("end"), folder)
    facts = gather(folder)
    dies = tuple(replace(d, reason=garbled) for d in facts.dies)
    monkeypatch.setattr(html, "gather", lambda folder: replace(facts, dies=dies))
    text = write_report(folder).read_text(encoding="utf-8")
    assert "smu1 answered \\x1b[2J\\x9b\\u202e\\udce9" in text
    assert odd_character(text) == ""
    raw = (folder / "report.json").read_text(encoding="utf-8")
    assert odd_character(raw) == ""
    assert json.loads(raw)["dies"][0]["reason"] == garbled


def test_the_table_sorts_by_values_and_not_by_what_is_shown(night: Night) -> None:
    read = Reader(page(gather(night("kill")), night("kill")))
    values = [a["data-value"] or "" for _, a in read.found if "data-value" in a]
    ohms = [float(v) for v in values if v.startswith("2500") or v.startswith("2499")]
    assert ohms == pytest.approx([2500] * 3)
    assert values.count("") >= 3  # dies without figures go to the end, wherever it sorts


def test_headlines(night: Night) -> None:
    assert headline(gather(night("start"))) == "0 of 6 dies done, 0 good."
    assert headline(gather(night("kill"))) == "3 of 6 dies done, 1 good."
    assert headline(gather(night("end"))) == "1 of 6 dies are good."


def test_a_run_without_limits_says_so_in_its_headline_and_large_figures(night: Night) -> None:
    facts = gather(night("end"))
    unjudged = tuple(
        replace(d, bin="measured", hard=99, rule="no acceptance limits were set") if d.state == "done" else d
        for d in facts.dies
    )
    number = sum(d.bin == "measured" for d in unjudged)
    some = replace(facts, dies=unjudged)
    assert (some.good, some.without_verdict) == (0, number)
    assert headline(some) == f"{number} of 6 dies are measured; no acceptance limits were set."
    assert headline(replace(some, exit_code=None)) == f"{sum(d.state in FINAL for d in some.dies)} of 6 dies done, " + (
        f"{number} measured."
    )
    every = replace(some, dies=tuple(replace(some.dies[0], state="done", bin="measured", hard=99) for _ in range(36)))
    assert headline(every) == "All 36 dies are measured; no acceptance limits were set."
    text = page(every, night("end"))
    assert "measured dies; no acceptance limits were set" in text
    assert "36 / 36" in text
    assert "good dies" not in text


def test_a_changed_file_is_said(night: Night) -> None:
    text = page(gather(night("end")), night("end"))
    assert "CHANGED" in text  # the digest in the example is none of any file


def test_written_again_it_says_the_same(night: Night, tmp_path: Path) -> None:
    folder = shutil.copytree(night("end"), tmp_path / "run")
    shutil.copy(folder / "run.json", folder / "x.part")
    before = {p.relative_to(folder) for p in folder.rglob("*")}
    first = write_report(folder).read_text(encoding="utf-8")
    assert {p.relative_to(folder) for p in folder.rglob("*")} - before == {Path("report.html"), Path("report.json")}
    second = write_report(folder).read_text(encoding="utf-8")
    # but for when it was made, the size of the folder with a report in it, and the digest of the page
    same = [a == b for a, b in zip(first.splitlines(), second.splitlines(), strict=True)]
    assert same.count(False) <= 3


def test_a_folder_that_cannot_be_written_is_said(night: Night, tmp_path: Path) -> None:
    folder = shutil.copytree(night("end"), tmp_path / "run")
    (folder / "report.json.part").mkdir()
    with pytest.raises(StorageError, match=r"report\.json: the report cannot be written"):
        write_report(folder)


def test_maps_are_numbered_and_have_the_notch_of_the_wafer(night: Night) -> None:
    facts = gather(night("end"))
    places = tuple((x, y) for x in range(7) for y in range(5) if (x, y) not in ((0, 0), (6, 0), (0, 4), (6, 4)))
    facts = replace(facts, wafer=Identity("W7", "L1", 90, None, places))
    drawn = page(facts, night("end"))
    outlined = len(set(places) - {die.at for die in facts.dies})
    assert outlined
    assert f"{outlined} dies of the wafer, outlined, not of this run" in drawn
    assert "Wafer W7, lot L1: columns count to the right, rows downwards" in drawn
    assert "the notch is at the left" in drawn
    (whole,) = maps(facts.dies, facts.bins, (), facts.wafer)
    numbers = re.findall(r'<g class="numbers".*?</g>', whole.large)[0]
    assert re.findall(r">(\d+)</text>", numbers) == [*"0123456", *"01234"]
    assert 'class="others"' in whole.large
    assert 'class="wafer"' in whole.small


def test_letters_of_bins_differ_and_good_is_green() -> None:
    look = palette.of_bins(["good", "gone", "o", "g-o", "x"], "good", ["x"])
    letters = [letter for _, letter in look.values()]
    assert letters == ["G", "O", "?", "?", "…"]
    assert look["good"][0] == palette.GOOD
    assert len({colour for colour, _ in look.values()}) == 5


def test_scales_run_from_light_to_dark_steadily() -> None:
    for key in ("fidelity", "defects"):
        colours = [shade(palette.scale(key), k / 20) for k in range(21)]
        grey = [sum(w * int(c[i : i + 2], 16) for w, i in ((0.3, 1), (0.59, 3), (0.11, 5))) for c in colours]
        assert grey == sorted(grey, reverse=True)
        assert grey[0] - grey[-1] > 150
