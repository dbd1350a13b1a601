"""Bin codes of SEMI maps: how a row of text is split into codes, one for each place.

Ascii is one character, Decimal three digits, HexaDecimal two digits, Integer2 four hexadecimal ones, in each case with
or without blanks between the codes. A row that is split wrongly moves every die behind the fault, so whatever can be
read in two ways is refused.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from labctl.core.errors import BenchError

_WIDTHS = {"ascii": 1, "decimal": 3, "hexadecimal": 2, "integer2": 4}
_EXPECTED = "expected Ascii, Decimal, HexaDecimal or Integer2"
_DIGITS = {"decimal": re.compile(r"[0-9]+"), "hexadecimal": re.compile(r"[0-9A-Fa-f]+")}


@dataclass(frozen=True)
class BinCodes:
    """How the codes of a map are written.

    Args:
        kind: "ascii", "decimal", "hexadecimal" or "integer2".
        null: the code of places without a die, as `code` returns it.
    """

    kind: str
    null: str

    @classmethod
    def of(cls, about: Mapping[str, str], where: str) -> "BinCodes":
        """Return the codes that the attributes bintype and nullbin describe.

        The first revision of G85 has files without BinType. There the length of NullBin tells the kind, since all
        codes of a map have one length.
        """
        if "nullbin" not in about:
            raise BenchError(f"{where}: there is no NullBin, expected the code of places without a die")
        null, kind = about["nullbin"], about.get("bintype", "").lower()
        if not kind:
            kind = {width: name for name, width in _WIDTHS.items()}.get(len(null), "")
            if not kind or not about.get("columns"):
                raise BenchError(
                    f"{where}: there is no BinType, and NullBin '{null[:20]}' does not tell it; {_EXPECTED}, or a "
                    "NullBin of 1, 3, 2 or 4 characters together with Columns"
                )
        if kind not in _WIDTHS:
            raise BenchError(f"{where}: BinType is '{kind}', {_EXPECTED}")
        codes = cls(kind, "")
        return cls(kind, codes.code(null, f"{where}: NullBin") if null else "")

    def code(self, text: str, where: str) -> str:
        """Return a code in the one form in which codes are compared: decimal numbers without leading zeros.

        >>> BinCodes("decimal", "").code("007", "m"), BinCodes("integer2", "").code("1f", "m")
        ('7', '001F')
        """
        width = _WIDTHS[self.kind]
        if self.kind == "ascii":
            if len(text) != 1 or not text.isprintable():
                raise BenchError(
                    f"{where}: found '{text[:20]}', expected a bin code of one character, since BinType is Ascii"
                )
            return text
        digits = _DIGITS["decimal" if self.kind == "decimal" else "hexadecimal"]
        if len(text) > width or not digits.fullmatch(text):
            raise BenchError(
                f"{where}: found '{text[:20]}', expected a bin code that is {self.kind}: up to {width} digits"
            )
        return str(int(text)) if self.kind == "decimal" else text.upper().zfill(width)

    def row(self, text: str, where: str) -> list[str]:
        """Return the codes of a row of text."""
        if self.kind == "ascii":
            return self._characters(text, where)
        parts, width = text.split(), _WIDTHS[self.kind]
        if len(parts) <= 1:
            joined = "".join(parts)
            if len(joined) % width:
                raise BenchError(f"{where}: found {len(joined)} digits, expected {width} for each {self.kind} code")
            parts = [joined[k : k + width] for k in range(0, len(joined), width)]
        known: dict[str, str] = {}
        for part in parts:
            if part not in known:
                known[part] = self.code(part, where)
        return [known[part] for part in parts]

    def _characters(self, text: str, where: str) -> list[str]:
        if self.null == " ":
            codes = list(text.strip("\r\n\t"))
        else:
            codes = list(text.strip())
            if any(map(str.isspace, codes)):
                if not all(len(part) == 1 for part in text.split()) or "  " in text.strip():
                    raise BenchError(
                        f"{where}: found blanks within a row of Ascii codes, of which none is NullBin; expected one "
                        "character for each place, with one blank between all of them or none"
                    )
                codes = text.split()
        for code in dict.fromkeys(codes):
            self.code(code, where)
        return codes
