"""A run reads the same from its sealed dies and from their journals, and exports the same CSV files."""

import shutil

from labctl.export.csv import write_csv
from labctl.storage.results import open_run
from labctl.storage.run_log import read_state
from tests.views import differences, same


def test_a_run_reads_the_same_before_and_after_its_dies_are_sealed(finished, tmp_path):
    folder, _ = finished
    shutil.copytree(folder, tmp_path / "unsealed")
    for path in [*(tmp_path / "unsealed").glob("dies/*.h5"), tmp_path / "unsealed" / "run.h5"]:
        path.unlink()
    sealed, unsealed = open_run(folder), open_run(tmp_path / "unsealed")
    assert sealed.dies == unsealed.dies
    assert sealed.tables == unsealed.tables
    assert {"survey", "attempt", "write", "inference", "readback"} <= set(sealed.tables)
    for name in sealed.dies:
        assert (sealed.die(name).sealed, unsealed.die(name).sealed) == (True, False)
        with sealed.die(name).open() as file, unsealed.die(name).open() as journal:
            assert differences(journal, file) == []
    for name in sealed.tables:
        a, b = sealed.table(name), unsealed.table(name)
        assert list(a) == list(b)
        assert all(same(a[field], b[field]) for field in a), name
        assert (a.units, a.axes, a.codes) == (b.units, b.axes, b.codes)
    files = {}
    for which, run in (("sealed", sealed), ("unsealed", unsealed)):
        written = write_csv(read_state(folder), run, tmp_path / which / "csv")
        files[which] = {path.name: path.read_bytes() for path in written}
    assert files["sealed"].keys() == files["unsealed"].keys()
    assert "survey.row.col.csv" in files["sealed"]
    assert [name for name in files["sealed"] if files["sealed"][name] != files["unsealed"][name]] == []
