"""Pages that are carried out: files, commands and code in one folder, outputs below them, errors by page and block."""

import json
import os

import pytest

from docsite import notebook

PAGE = """<!-- executed -->
Prose.

<!-- file: sub/a.txt -->
```text
three
```

<!-- python -->
```python
from pathlib import Path

print(Path("sub/a.txt").read_text().strip())
1 + 1
```

<!-- run -->
```sh
labctl --version  # of today
```

<!-- python -->
```python
import matplotlib.pyplot as plt

plt.plot([1, 2])
```

```python
this is only read
```
"""


def test_blocks_are_one_session_and_their_outputs_stand_below() -> None:
    before = os.getcwd()
    blocks = notebook.execute(PAGE, "a.md")
    assert os.getcwd() == before
    text = notebook.as_markdown(blocks)
    assert '```text title="sub/a.txt"' in text
    assert "````text {.output}\nthree\n````" in text
    assert "<pre>2</pre>" in text
    assert "$ labctl --version\n0." in text
    assert text.count('src="data:image/png;base64,') == 1
    assert "Line2D" not in text
    assert "this is only read" in text
    cells = json.loads(notebook.as_notebook(blocks))["cells"]
    assert [cell["cell_type"] for cell in cells] == ["markdown", "code", "code", "code", "code", "markdown"]
    assert cells[1]["source"].startswith("%%writefile sub/a.txt\n")
    assert cells[3]["source"].startswith("!labctl --version")
    assert cells[2]["outputs"][0]["text"] == "three"


@pytest.mark.parametrize(
    ("block", "text"),
    [
        ("<!-- python -->\n```python\nx = 1 / 0\n```\n", "a.md: 'x = 1 / 0': ZeroDivisionError"),
        ("<!-- run -->\n```sh\nlabctl plan gone.yaml\n```\n", "exit code 2: .*gone.yaml: no such file"),
        ("<!-- run -->\n```sh\nrm -r x\n```\n", "'rm' is no command"),
    ],
)
def test_an_error_names_the_page_and_the_block(block: str, text: str) -> None:
    with pytest.raises(notebook.PageError, match=text):
        notebook.execute(block, "a.md")


def test_what_a_run_gets_besides_is_said() -> None:
    (_, block, _) = notebook.split("<!-- run: --only A,B -->\n```sh\nlabctl run x.yaml\n```\n")
    assert (block.kind, block.name) == ("run", "--only A,B")
