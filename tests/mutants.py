"""Change one thing at random in a module, and see whether the tests that run the changed line notice.

    python tests/mutants.py --mutants 60 --results build/mutants.jsonl     of all modules of branch_coverage.py
    python tests/mutants.py --mutants 20 --seed 1 --module labctl/core/limits.py

Which changes are made is a function of the seed, the first so many of a longer list are those of a shorter one, and
what the file of results has is not done again. Tests run in a copy of the tree, so that the processes which they start
see the change as well, and a call that is killed leaves nothing changed. Survivors are printed; exit code 1 if there
are any. A survivor that computes the same as the original is nothing to mend: a person decides.
"""

import argparse
import ast
import contextlib
import importlib.util
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from coverage import CoverageData

sys.path.insert(0, str(Path(__file__).resolve().parent))

from branch_coverage import GROUPS, ROOT, Group
from faults.results import add_result, done_before

SWAPPED = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Add: ast.Sub, ast.Sub: ast.Add,
    ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
LEAST = 30.0
"""Time limit of the tests of a mutant, s; twice what they took unchanged, if that is more. One that hangs is killed."""
MEASURED = "[run]\nparallel=true\nconcurrency=thread,multiprocessing\npatch=subprocess\ndynamic_context=test_function\n"
PYTEST = ("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider")


def changes_of(node):
    """Yield (part of `node`, what stands in its place): each is different in one thing."""
    match node:
        case ast.Compare(left, ops, comparators):
            for k, op in enumerate(ops):
                yield node, ast.Compare(left, [*ops[:k], SWAPPED[type(op)](), *ops[k + 1 :]], comparators)
        case ast.BinOp(left, op, right) if type(op) in SWAPPED:
            yield node, ast.BinOp(left, SWAPPED[type(op)](), right)
        case ast.BoolOp(op, values):
            yield node, ast.BoolOp(SWAPPED[type(op)](), values)
        case ast.UnaryOp(ast.Not() | ast.USub() | ast.Invert(), operand):
            yield node, operand
        case ast.Constant(bool(value)):
            yield node, ast.Constant(not value)
        case ast.Constant(int(value) | float(value)):
            yield node, ast.Constant(value + 1 if isinstance(value, int) else 2 * value or 1.0)
        case ast.Constant(str(value)):
            yield node, ast.Constant("" if value else "mutant")
        case ast.If(test) | ast.While(test) | ast.IfExp(test):
            yield test, ast.UnaryOp(ast.Not(), test)
        case ast.Expr(ast.Call()) | ast.Assign() | ast.AugAssign() | ast.Raise() | ast.Delete():
            yield node, ast.Pass()
        case ast.Return(value) if value is not None and not isinstance(value, ast.Constant):
            yield node, ast.Return(ast.Constant(None))


def changeable(node):
    """Return the children of `node` in which something may change: no type, docstring, wording of a message."""
    match node:
        case ast.JoinedStr() | ast.Import() | ast.ImportFrom() | ast.Expr(ast.Constant()) | ast.Raise():
            return []
        case ast.keyword(arg="description" | "help") | ast.If(ast.Name("TYPE_CHECKING")):
            return []
    left = [getattr(node, name, None) for name in ("annotation", "returns")] + getattr(node, "decorator_list", [])
    return [child for child in ast.iter_child_nodes(node) if not any(child is one for one in left)]


def mutants_of(source):
    """Return the mutants of a module's text: first and last line of the statement, first byte, end, and new text."""
    mutants, starts = [], [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line.encode()))

    def visit(node, span):
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None) or getattr(node, "cases", None)
            first = (getattr(body[0], "lineno", None) or body[0].pattern.lineno) if body else node.end_lineno + 1
            span = node.lineno, max(node.lineno, first - 1)
        for part, changed in changes_of(node):
            begin, end = starts[part.lineno - 1] + part.col_offset, starts[part.end_lineno - 1] + part.end_col_offset
            text = ast.unparse(ast.fix_missing_locations(changed))
            mutants.append((*span, begin, end, text if isinstance(part, ast.stmt) else f"({text})"))
        for child in changeable(node):
            visit(child, span)

    visit(ast.parse(source), (1, 1))
    return mutants


def mutated(source, mutant):
    """Return the text of a module with one mutant in it."""
    *_, begin, end, text = mutant
    return (source.encode()[:begin] + text.encode() + source.encode()[end:]).decode()


def described(source, mutant):
    """Return what a mutant changes, on one line."""
    *_, begin, end, text = mutant
    return f"{' '.join(source.encode()[begin:end].decode().split())}  ->  {text}"


def planned(modules, number, seed):
    """Return `number` mutants of all those of `modules` as (module, position in its list)."""
    every = [(m, k) for m in modules for k in range(len(mutants_of((ROOT / m).read_text(encoding="utf-8"))))]
    random.Random(seed).shuffle(every)
    return every[:number]


def group_of(module):
    """Return the group that a module is judged in, else one of itself and the tests that mirror it."""
    for group in GROUPS.values():
        if module in group.files:
            return group
    folder, _, name = module.removesuffix(".py").rpartition("/")
    return Group((module,), (f"tests/unit/{folder}/test_{name}*.py",))


class Copy:
    """A copy of the tree in which modules are changed and tests run."""

    def __init__(self, folder):
        self.root = Path(folder) / "tree"
        left = ("build", ".venv", ".git", "runs", "*.egg-info", "__pycache__", "*_cache")
        shutil.copytree(ROOT, self.root, ignore=shutil.ignore_patterns(*left), symlinks=True)
        (self.root / ".coveragerc").write_text(MEASURED)
        self._measured = {}

    def run(self, *arguments, seconds=None, **variables):
        """Run Python in the copy; return exit code and output, None as the code if it was ended by its time limit."""
        environment = {**os.environ, "PYTHONPATH": str(self.root), "OPENBLAS_NUM_THREADS": "1", **variables}
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=self.root, env=environment, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            output, _ = process.communicate(timeout=seconds)
            return process.returncode, output
        except subprocess.TimeoutExpired:
            return None, ""
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process.stdout.close()

    def measured(self, group):
        """Return which tests run each line, by file and line, and how long all tests of `group` take, s."""
        if group not in self._measured:
            begin, include = time.monotonic(), ",".join(f"*/{file}" for file in group.files)
            run = ("-m", "coverage", "run", "--rcfile=.coveragerc", f"--include={include}")
            code, output = self.run(*run, *PYTEST, *group.test_files)
            if code != 0:
                sys.exit(f"the tests fail without a mutant:\n{output[-3000:]}")
            seconds = time.monotonic() - begin
            self.run("-m", "coverage", "combine", "--rcfile=.coveragerc", "--quiet")
            data = CoverageData(str(self.root / ".coverage"))
            data.read()
            lines = {
                Path(f).relative_to(self.root).as_posix(): data.contexts_by_lineno(f) for f in data.measured_files()
            }
            self._measured[group] = lines, seconds
        return self._measured[group]

    def judge(self, module, position):
        """Try one mutant; return its result as JSON can hold it."""
        begin, path, group = time.monotonic(), self.root / module, group_of(module)
        source = path.read_text(encoding="utf-8")
        mutant = mutants_of(source)[position]
        lines, taken = self.measured(group)
        contexts = {one for k in range(mutant[0], mutant[1] + 1) for one in lines.get(module, {}).get(k, [])}
        Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)
        path.write_text(mutated(source, mutant), encoding="utf-8")
        fate = "not run"
        try:
            # first what runs this line, then all: a test may share what another one, or the import, has made
            for tests in (sorted({node_of(one) for one in contexts} - {""}), group.test_files if contexts else []):
                if tests and fate != "killed":
                    limit = max(LEAST, 2 * taken)
                    code, _ = self.run(*PYTEST, *tests, seconds=limit, PYTHONDONTWRITEBYTECODE="1")
                    # a name that pytest does not know (4) kills nothing; an import that fails does, with all tests
                    fate = "survived" if code == 0 or (code == 4 and tests != group.test_files) else "killed"
        finally:
            path.write_text(source, encoding="utf-8")
        return {
            "module": module, "position": position, "line": source.encode()[: mutant[2]].count(b"\n") + 1,
            "change": described(source, mutant), "fate": fate, "seconds": round(time.monotonic() - begin, 1),
        }  # fmt: skip


def node_of(context):
    """Return the pytest name of a test from the context of coverage.py, "" if it is that of no test function.

    >>> node_of("tests.house.test_mutants.test_width"), node_of("labctl.testing.sources.test_all")
    ('tests/house/test_mutants.py::test_width', '')
    """
    parts = context.split(".")
    files = {k: "/".join(parts[:k]) + ".py" for k in range(1, len(parts))}
    ends = [k for k, file in files.items() if parts[0] == "tests" and (ROOT / file).is_file()]
    return "::".join([files[ends[-1]], *parts[ends[-1] :]]) if ends and "<locals>" not in context else ""


def carry_on(wanted, results, judge, show=print):
    """Return the results of all mutants in `wanted`; what the file `results` has of the same text is not done again."""
    done = {(one["module"], one["position"], one["change"]): one for one in done_before(results)}
    judged = []
    for module, position in wanted:
        source = (ROOT / module).read_text(encoding="utf-8")
        result = done.get((module, position, described(source, mutants_of(source)[position])))
        if result is None:
            result = judge(module, position)
            add_result(results, result)
        judged.append(result)
        if result["fate"] != "killed":
            show(f"{result['fate']}: {module}:{result['line']}: {result['change']}")
    return judged


def main():
    """Try the mutants, print survivors and how many were killed, and exit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=60, help="how many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--module", action="append", help="path of a module, from the root; may be given again")
    parser.add_argument("--results", type=Path, help="file, one JSON object a line; what it has is not redone")
    given = parser.parse_args()
    wanted = planned(given.module or [m for g in GROUPS.values() for m in g.files], given.mutants, given.seed)
    with tempfile.TemporaryDirectory() as folder:
        results = carry_on(wanted, given.results, Copy(folder).judge)
    killed = sum(result["fate"] == "killed" for result in results)
    print(f"{killed} of {len(results)} mutants killed")
    return 0 if killed == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
