"""The reply to ``*IDN?`` in fields: read liberally, since no two makers write it alike, and compared strictly.

IEEE 488.2 has four fields with commas between them: maker, model, serial number, firmware. In practice makers have
commas in their names, firmware has some, separators are semicolons, and fields have quotes, blanks and labels. What
tells the fields apart is the model: it has the label `Model`, or it is the first field with a digit and says what is
expected; else it stands behind the maker and what belongs to the name of a company.
"""

import re
from dataclasses import dataclass

_LABELLED = re.compile(r"\b(?:model|type)(?:\s+(?:no|nr|number)\b)?[\s.:#=]*(?=\S*\d)([\w/+-]+)", re.IGNORECASE)
_TOKEN = re.compile(r"[\w/+-]*\d[\w/+-]*")
_COMPANY = re.compile(
    r"(?:inc|incorporated|llc|ltd|limited|corp|corporation|co|company|gmbh|ag|kg|plc|s\.?a|s\.?r\.?l|b\.?v|k\.?k)\b[.\s]*",
    re.IGNORECASE,
)
_SERIAL_LABEL = re.compile(r"(?:s\s*/?\s*n|ser(?:ial)?\.?(?:\s*(?:no|number|#))?|no)[\s.:#=]+", re.IGNORECASE)
_BLANK = " \t\r\n\"'"


@dataclass(frozen=True)
class Fields:
    """The fields of an identity; each is empty where there is none.

    Args:
        model: as it is written, without its label.
        serial: without its label; "0" and the like are none (IEEE 488.2).
    """

    maker: str
    model: str
    serial: str
    firmware: str


def fields_of(line: str, model: str | None = None) -> Fields:
    """Return the fields of an identity.

    Args:
        model: that is expected, if one is: a field that says just that is the model's.

    >>> fields_of("Keithley Instruments, Inc., Model 2602B, 1234567, 3.4.0")
    Fields(maker='Keithley Instruments, Inc.', model='2602B', serial='1234567', firmware='3.4.0')
    >>> fields_of('"ACME";"SMU";"S/N: A12-7";"1.0, build 4"')
    Fields(maker='ACME', model='SMU', serial='A12-7', firmware='1.0, build 4')
    >>> fields_of("Tektronix MODEL 2602b, 1234567, 3.4.0").serial, fields_of("2602B").model
    ('1234567', '2602B')
    """
    fields = _split(line)
    at, name = _model_field(fields, model)
    serial = fields[at + 1] if len(fields) > at + 1 else ""
    label = _SERIAL_LABEL.match(serial)
    if label and label.end() < len(serial):
        serial = serial[label.end() :]
    firmware = ", ".join(fields[at + 2 :])
    return Fields(", ".join(fields[:at]), name, serial if serial.strip("0") else "", firmware)


def _split(line: str) -> list[str]:
    """Return the parts between the separator that an identity uses, without blanks and quotes around them."""
    separator = ";" if line.count(";") > 1 else ","
    return [part.strip(_BLANK) for part in line.strip(_BLANK).split(separator)]


def _model_field(fields: list[str], model: str | None) -> tuple[int, str]:
    """Return which field has the model, and the model in it."""
    for k, field in enumerate(fields):
        if labelled := _LABELLED.search(field):
            return k, labelled[1]
    second = 1
    while second < len(fields) - 1 and _COMPANY.fullmatch(fields[second]):
        second += 1  # of the maker's name
    with_digits = [(k, tokens) for k, field in enumerate(fields) if (tokens := _TOKEN.findall(field))]
    if model is not None and with_digits:
        k, tokens = with_digits[0]
        if len(tokens) == 1 and tokens[0].upper() == model.upper():
            return k, tokens[0]
    if len(fields) <= second or (len(fields) == 3 and _TOKEN.fullmatch(fields[0])):
        return 0, fields[0]
    return second, fields[second]
