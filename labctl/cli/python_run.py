"""A campaign from Python, as `labctl run` carries it out."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from labctl.cli.options import default_workers
from labctl.cli.plan import prepare, print_faults, print_retest, print_warnings
from labctl.core.errors import BenchError, LabError
from labctl.core.exit_codes import ExitCode
from labctl.core.secrets import without_secrets
from labctl.storage.results import Run, open_run
from labctl.terminal.progress import Display, console


class EndedEarly(LabError):
    """A run ended before its end; what was measured is kept, and `labctl resume` goes on with it.

    Attributes:
        code: exit code with which `labctl run` would have ended.
        folder: of the run.
    """

    def __init__(self, text: str, code: ExitCode, folder: Path) -> None:
        super().__init__(text)
        self.code, self.folder = code, folder

    def __reduce__(self) -> tuple[type, tuple[str, ExitCode, Path]]:
        return (type(self), (self.args[0], self.code, self.folder))


def run(
    campaign: str | Path,
    folder: str | Path | None = None,
    *,
    seed: int | None = None,
    bench: str | Path | None = None,
    sim: str | None = None,
    only: Sequence[str] | None = None,
    retest: str | Path | None = None,
    bins: Sequence[str] | None = None,
    values: Mapping[str, str] | None = None,
    faults: str | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Run:
    """Carry a campaign out on simulated dies or on a bench, write its report, and return the run.

    ^C asks it to stop at the next safe point; ``labctl resume`` goes on with it.

    Args:
        campaign: campaign file.
        folder: new folder of the run; by default one under ``runs``, named after time and campaign.
        seed: of the simulated world; by default the campaign's.
        bench: bench file; the real bench, unless `sim` is "bytes" or "tcp": then its twin.
        only: names of dies; all by default.
        retest: folder of an earlier run of this campaign and wafer whose dies are measured again.
        bins: soft bins of that run whose dies these are; all of dies that did not pass by default.
        values: values of the campaign file to change, such as ``{"stages.0.survey.v_read": "80 mV"}``.
        faults: "typical" rehearses a night.
        workers: processes for simulated dies.
        progress: print warnings and progress to standard error.

    Raises:
        BenchError: refused before the start; nothing was energised.
        LimitError: the campaign is beyond its limits; nothing was energised.
        EndedEarly: it was stopped, by the operator, a rule, a limit, an instrument or the disk.
    """
    from labctl.batch import session
    from labctl.batch.session import RunOptions
    from labctl.report.subprocess_call import report_apart
    from labctl.station import run_folder

    if workers is not None and workers < 1:
        raise BenchError(f"workers={workers}: expected at least 1")
    screen = console(stderr=True)
    changes = [f"{key}={value}" for key, value in (values or {}).items()]
    path = None if bench is None else Path(bench)
    earlier = None if retest is None else Path(retest)
    spec, plans = prepare(Path(campaign), changes, seed, path, sim, only=only, faults=faults, retest=earlier, bins=bins)
    place = run_folder.default_folder(spec) if folder is None else Path(folder)
    run_folder.refuse_existing(place, [site.name for site in spec.subjects])
    if progress:
        print_faults(spec, screen)
        print_retest(spec, screen)
        print_warnings(spec, plans, screen)
    patterns = {plan.die: plan.patterns for plan in plans if "@" not in plan.die}
    named = {"--out": place, "--seed": seed, "--bench": bench, "--sim": sim, "--faults": faults}
    named |= {"--retest": retest, "--bins": None if bins is None else ",".join(bins)}
    named["--only"] = None if only is None else ",".join(only)
    words = [str(campaign), *(str(w) for name, value in named.items() if value is not None for w in (name, value))]
    words += [without_secrets(word) for change in changes for word in ("--set", change)]
    with Display(patterns, quiet=not progress) as display, _script_left_alone():
        workers = workers or default_workers(sum(plan.patterns for plan in plans))
        options = RunOptions(workers, "", display.notify, display.say, _ask, type_in=_type_in)
        ending, _ = session.start(place, spec, plans, ["labctl", "run", *words], options)
    report_apart(place)
    if ending.code not in (ExitCode.GOOD, ExitCode.OTHER_BIN):
        raise EndedEarly(f"{place}: {ending.text}; labctl resume {place}", ExitCode(ending.code), place)
    return open_run(place)


@contextmanager
def _script_left_alone() -> Iterator[None]:
    """Let workers that are spawned in the block not import the script that called: they would carry it out again.

    `multiprocessing.spawn` tells a new process the file or the name of the main module; the workers need nothing of it.
    """
    main = vars(sys.modules["__main__"])
    before: dict[str, Any] = {name: main.pop(name) for name in ("__file__", "__spec__") if name in main}
    main["__spec__"] = None
    try:
        yield
    finally:
        main.update({"__spec__": None, **before})


def _ask(question: str) -> Any:
    """Put a question to the operator at the bench."""
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def _type_in(question: str) -> str:
    """Return what the operator at the bench types."""
    return input(f"{question} ")
