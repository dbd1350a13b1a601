"""Links of documents lead to pages of the site; anchors are those of forges."""

import doctest

import pytest

from docsite import file_keys, links


@pytest.mark.parametrize(
    ("link", "file", "page", "expected"),
    [
        ("[a](bench.md#the-wiring)", "docs/wafers.md", "wafers.md", "[a](bench.md#the-wiring)"),
        ("[a](../README.md)", "docs/wafers.md", "wafers.md", "[a](project/readme.md)"),
        ("[a](docs/bench.md)", "README.md", "project/readme.md", "[a](../bench.md)"),
        ("[a](docs/decisions)", "README.md", "project/readme.md", "[a](../decisions/README.md)"),
        ("![a](docs/pictures/watch.png)", "README.md", "project/readme.md", "![a](../pictures/watch.png)"),
        ("[a](../tests/conftest.py)", "docs/wafers.md", "wafers.md", "a"),
        (
            "[a](../examples/dies/ideal-1x1.yaml)",
            "docs/wafers.md",
            "wafers.md",
            "[a](reference/examples.md#diesideal-1x1yaml)",
        ),
        ("[a](https://example.org/x)", "docs/wafers.md", "wafers.md", "[a](https://example.org/x)"),
        ("[a](#here)", "docs/wafers.md", "wafers.md", "[a](#here)"),
        ("```\n[a](../README.md)\n```\n", "docs/wafers.md", "wafers.md", "```\n[a](../README.md)\n```\n"),
    ],
)
def test_a_link_leads_to_the_page_of_its_file(link: str, file: str, page: str, expected: str) -> None:
    assert links.for_site(link, file, page) == expected


def test_anchors_are_those_of_headings_and_equal_ones_are_counted() -> None:
    text = "# A `b` & c\n## Two\n```sh\n# no heading\n```\n## Two\n"
    assert links.anchors(text) == {"a-b--c", "two", "two-1"}


@pytest.mark.parametrize("module", [links, file_keys])
def test_the_examples_in_docstrings(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]
