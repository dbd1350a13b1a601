"""Write-verify of cells on the board itself: one batch, no message per pulse.

The rounds are those of a host: one per rung of the ladder, with every cell that is still wrong, in the order given.
"""

from typing import Any, Callable, Dict, List, NamedTuple, Sequence

from .engine import Aborted, Engine, Refused
from .patterns import MOST, READ, REST, Pattern, patterns_of


class WriteVerify(NamedTuple):
    """A write-verify of N cells.

    Args:
        writes: of each different rung, N patterns.
        reads: N patterns, each of one row.
        rungs: which of the different rungs comes at each attempt.
        budget: pulses that each cell may get.
        target: of each cell, 1 is P.
        cut: of each cell, the code below which it reads P: more current, lower output of the amplifier.
        low: of each cell, the lowest code of a good reading. high: the highest.
    """

    writes: Sequence[Sequence[Pattern]]
    reads: Sequence[Pattern]
    rungs: Sequence[int]
    budget: Sequence[int]
    target: Sequence[int]
    cut: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]

    @classmethod
    def of(cls, given: Dict[str, Any], parse: Callable[[str], Sequence[Pattern]] = patterns_of) -> "WriteVerify":
        """Return the program of a message.

        Args:
            parse: returns the patterns of a text.

        Raises:
            Refused: its parts do not fit.
        """
        try:
            writes = [parse(text) for text in given["writes"]]
            reads = parse(given["reads"])
            program = cls(
                writes,
                reads,
                [int(k) for k in given["rungs"]],
                [int(b) for b in given["budget"]],
                [int(t) for t in given["target"]],
                [float(c) for c in given["cut"]],
                [float(c) for c in given["low"]],
                [float(c) for c in given["high"]],
            )
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise Refused(f"no write-verify: {type(error).__name__}: {error}") from error
        n = len(reads)
        lists = [*writes, program.budget, program.target, program.cut, program.low, program.high]
        if any(len(part) != n for part in lists) or n > MOST:
            raise Refused(f"a write-verify with parts for {sorted({n, *map(len, lists)})} cells")
        if not all(0 <= rung < len(writes) for rung in program.rungs):
            raise Refused(f"rung {program.rungs} of {len(writes)}")
        if any(bin(read.read).count("1") != 1 or read.mode & ~REST != READ for read in reads):
            raise Refused("a cell is verified by a read of one row")
        if any(code != code for code in (*program.cut, *program.low, *program.high)):
            raise Refused("a code that is no number")
        return program

    def longest(self, engine: Engine) -> float:
        """Return the time of the events if every budget is used up, in s."""
        reads = [engine.seconds((read,)) for read in self.reads]
        writes = [[engine.seconds((write,)) for write in patterns] for patterns in self.writes]
        total = 0.0
        for k, rung in enumerate(self.rungs):
            total += sum(w + r for w, r, budget in zip(writes[rung], reads, self.budget) if budget > k)
        return total

    def run(self, engine: Engine) -> Dict[str, List[Any]]:
        """Carry it out; return the attempts in their order: cell, attempt, code, and whether each code is good.

        Raises:
            Refused: a pattern must not be; nothing was driven.
        """
        for patterns in (*self.writes, self.reads):
            engine.refuse(patterns)
        made: Dict[str, List[Any]] = {"cell": [], "attempt": [], "code": [], "good": [], "aborted": []}
        pending = list(range(len(self.reads)))
        engine.proof.begin()
        try:
            for k, rung in enumerate(self.rungs):
                chosen = [cell for cell in pending if self.budget[cell] > k]
                pending = []
                for cell, (code, in_time) in zip(chosen, engine.attempts(self.writes[rung], self.reads, chosen)):
                    good = in_time and self.low[cell] <= code <= self.high[cell]
                    for name, value in (("cell", cell), ("attempt", k + 1), ("code", code), ("good", int(good))):
                        made[name].append(value)
                    if good and (code < self.cut[cell]) != bool(self.target[cell]):
                        pending.append(cell)
                if not pending:
                    break
            engine.verify_outputs()
        except Aborted:
            made["aborted"].append(f"after {len(made['cell'])} attempts")
        finally:
            engine.rest()
        engine.verify_rest()
        return made
