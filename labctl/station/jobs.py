"""The jobs of a run: what a worker is told about each die."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labctl.execution.die_job import Job
from labctl.station.run_spec import RunSpec

_OF_THE_RUN = ("batch", "bins", "dies", "fiducials", "files", "roles", "shipped", "stages", "visit")
"""Keys of ``run.json`` that the journal of one die does not repeat."""


def jobs_of(spec: RunSpec, folder: Path, manifest: Mapping[str, Any]) -> list[Job]:
    """Return one job per die of a run in `folder`; `manifest` is the contents of its ``run.json``."""
    meta = _meta(manifest)
    faults = {s.name: () if spec.faults is None else spec.faults.of_die(s.name) for s in spec.subjects}
    return [
        Job(folder, subject, spec.limits, spec.bins, meta, ledger=spec.ledger, faults=faults[subject.name])
        for subject in spec.subjects
    ]


def visit_job(spec: RunSpec, folder: Path, manifest: Mapping[str, Any]) -> Job | None:
    """Return the job of a visit of the reference die, None if there is none; `manifest` as for `jobs_of`."""
    if spec.golden is None:
        return None
    return Job(folder, spec.golden, spec.limits, meta=_meta(manifest), ledger=spec.ledger, stages=spec.visit)


def _meta(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in manifest.items() if key not in _OF_THE_RUN}
