"""Heads of map files, each written anew after what a real program writes, with its places or its refusal.

Nothing here is a copy: names, sizes and codes are made up. `after` says whose habit a head has.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Head:
    """One file.

    Args:
        after: what writes such files.
        raw: its bytes.
        places: (x, y, bin) of its dies, None if it is refused.
        refused: what its refusal says.
        says: attributes of the map.
        reading: what the wafer file says of it.
    """

    after: str
    raw: bytes
    places: tuple[tuple[int, int, str], ...] | None = None
    refused: str = ""
    says: dict[str, Any] = field(default_factory=dict)
    reading: dict[str, Any] = field(default_factory=dict)


def g85(head: str, rows: list[str], *, device: str, bins: str = "", encoding: str = "utf-8", cdata: bool = True) -> str:
    """Return a G85 text: `head` are attributes of Map, `device` those of Device."""
    text = "".join(f"<Row><![CDATA[{r}]]></Row>\n" if cdata else f"<Row>{r}</Row>\n" for r in rows)
    return (
        f'<?xml version="1.0" encoding="{encoding}"?>\n<Maps>\n<Map {head}>\n<Device {device}>\n{bins}\n'
        f'<Data MapName="M" MapVersion="1">\n{text}</Data>\n</Device>\n</Map>\n</Maps>\n'
    )


def e142(
    codes: str,
    *,
    code_map: str,
    substrate: str = 'SubstrateType="Wafer" SubstrateId="K7-03"',
    layouts: str = "",
    references: str = "",
    bins: str = "",
    namespace: str = ' xmlns="urn:semi-org:xsd.E142-1.V1005.SubstrateMap"',
) -> str:
    """Return an E142 text."""
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n<MapData{namespace}>\n{layouts}'
        '<Substrates><Substrate SubstrateType="Wafer" SubstrateId="K7-03"><LotId> K7 </LotId></Substrate>'
        "</Substrates>\n"
        f'<SubstrateMaps><SubstrateMap {substrate}>\n<Overlay MapName="Sort" MapVersion="1">\n{references}'
        f"<BinCodeMap {code_map}>\n<BinDefinitions>{bins}</BinDefinitions>\n{codes}</BinCodeMap>\n</Overlay>\n"
        "</SubstrateMap></SubstrateMaps>\n</MapData>\n"
    )


#  . 1 7 .
#  1 1 1 .
DIES = ((1, 0, "1"), (2, 0, "7"), (0, 1, "1"), (1, 1, "1"), (2, 1, "1"))
HEX = tuple((x, y, f"{int(b):02X}") for x, y, b in DIES)
DECIMAL = ["255 001 007 255 ", "001 001 001 255 "]
OLD = 'xmlns:semi="http://www.semi.org" WaferId="91" FormatRevision="G85-1101"'
NEW = 'xmlns="http://www.semi.org" SubstrateType="Wafer" SubstrateId="A12_91" FormatRevision="SEMI G85-0703"'
LAID_OUT = (
    '<Layouts><Layout LayoutId="Top" TopLevel="true"><Dimension X="1" Y="1"/></Layout>'
    '<Layout LayoutId="Dies" DefaultUnits="mm"><Dimension X="4" Y="2"/></Layout></Layouts>\n'
)
ROWS = "<BinCode>FF0107FF</BinCode>\n<BinCode>010101FF</BinCode>\n"
UPPER_LEFT = 'OriginLocation="toUpperLeft" AxisDirection="DownRight" '
WAFER = 'SubstrateType="Wafer" SubstrateId="K7-03" '
FIRST_DEVICE = '<ReferenceDevice Name="FirstDevice"><Coordinates X="2" Y="1"/></ReferenceDevice>'
ORIENTED = 'Rows="2" Columns="4" Orientation="90" OriginLocation="3" '

READ = (
    Head(
        "a yield data base: G85-1101, Decimal, blanks at the end of rows",
        g85(OLD, DECIMAL, device=f'LotId="" {ORIENTED}BinType="Decimal" NullBin="255" ').encode(),
        DIES,
        says={"wafer": "91", "lot": "", "notch": 90, "kind": "SEMI G85-1101"},
    ),
    Head(
        "a prober: G85-1101 without BinType, a character per die, rows and columns with leading zeros",
        g85(OLD, [".17.", "111."], device='Rows="02" Columns="004" LotId="B6" NullBin="."').encode(),
        DIES,
        says={"lot": "B6", "kind": "SEMI G85-1101"},
    ),
    Head(
        "a web service: G85-1101 without BinType, three digits",
        g85(OLD, DECIMAL, device='Rows="2" Columns="4" NullBin="255"').encode(),
        DIES,
    ),
    Head(
        "an image sensor fab: G85-0703, HexaDecimal without blanks, dies for reference and test structures",
        g85(
            NEW,
            ["FF01070F", "01010111"],
            device='LotId="A12" Rows="2" Columns="4" BinType="HexaDecimal" NullBin="FF"',
            bins='<Bin BinCode="01" BinQuality="Pass"/><Bin BinCode="0f" BinQuality="Reference"/>',
        ).encode(),
        (*HEX[:2], (3, 0, "0F"), *HEX[2:], (3, 1, "11")),
        says={"wafer": "A12_91", "lot": "A12", "quality": {"01": "pass", "0F": "reference"}, "kind": "SEMI G85-0703"},
    ),
    Head(
        "a sensor maker: Ascii, three reference devices",
        g85(
            NEW,
            [".17.", "111."],
            device='BinType="ASCII" NullBin="." OriginLocation="2"',
            bins='<ReferenceDevice ReferenceDeviceX="1" ReferenceDeviceY="2"/>'
            '<ReferenceDevice ReferenceDeviceX="3" ReferenceDeviceY="1"/>'
            '<ReferenceDevice ReferenceDeviceX="2" ReferenceDeviceY="2"/>',
        ).encode(),
        tuple((x + 8, y + 10, b) for x, y, b in DIES),
        says={"reference": (10, 10)},
        reading={"reference": (10, 10), "reference_device": 2},
    ),
    Head(
        "a .NET program: a byte order mark",
        b"\xef\xbb\xbf" + g85(NEW, DECIMAL, device='BinType="Decimal" NullBin="255"').encode(),
        DIES,
    ),
    Head(
        "a prober in China: gb2312, with text of it",
        g85(NEW, [".17.", "111."], device='LotId="批7" BinType="Ascii" NullBin="."', encoding="gb2312").encode(
            "gb2312"
        ),
        DIES,
        says={"lot": "批7"},
    ),
    Head(
        "a prober in Japan: Shift_JIS",
        g85(NEW, [".17.", "111."], device='LotId="ロ7" BinType="Ascii" NullBin="."', encoding="Shift_JIS").encode(
            "shift_jis"
        ),
        DIES,
        says={"lot": "ロ7"},
    ),
    Head(
        "a Windows service: UTF-16 with its mark",
        g85(NEW, DECIMAL, device='BinType="Decimal" NullBin="255"', encoding="utf-16").encode("utf-16"),
        DIES,
    ),
    Head(
        "a writer of 2003: Integer2, blanks between codes, no CDATA",
        g85(
            NEW.replace("0703", "0303"),
            ["FFFF 0001 0007 FFFF", "0001 0001 0001 FFFF"],
            device='BinType="Integer2" NullBin="FFFF"',
            cdata=False,
        ).encode(),
        tuple((x, y, f"00{b}") for x, y, b in HEX),
        says={"kind": "SEMI G85-0303"},
    ),
    Head(
        "a writer of blanks between Ascii codes",
        g85(NEW, [". 1 7 .", "1 1 1 ."], device='BinType="Ascii" NullBin="."').encode(),
        DIES,
    ),
    Head(
        "a blank for no die",
        g85(NEW, [" 17 ", "111 "], device='BinType="Ascii" NullBin=" "').encode(),
        DIES,
    ),
    Head(
        "an engineering data base: E142 array, HexaDecimal, an older namespace, no layout",
        e142(
            ROWS,
            code_map='BinType="HexaDecimal" NullBin="FF" MapType="2DArray"',
            substrate=f'{WAFER}Orientation="0" {UPPER_LEFT}LayoutSpecifier="WaferLayout/Devices"',
            references=FIRST_DEVICE,
            bins='<BinDefinition BinCode="01" BinQuality="Pass"/>',
            namespace=' xmlns="urn:semiorg:xsd.E142-1.V0105.SubstrateMap"',
        ).encode(),
        HEX,
        says={"wafer": "K7-03", "lot": "K7", "notch": 0, "quality": {"01": "pass"}, "kind": "SEMI E142"},
    ),
    Head(
        "the same, with its reference device where the prober has it, counted from 1",
        e142(
            ROWS,
            code_map='BinType="HexaDecimal" NullBin="FF" MapType="2DArray"',
            substrate=WAFER + UPPER_LEFT,
            references=FIRST_DEVICE,
        ).encode(),
        tuple((x - 1, y, b) for x, y, b in HEX),
        says={"reference": (0, 0)},
        reading={"reference": (0, 0), "first": 1},
    ),
    Head(
        "a map converter: E142 with layouts, origin at the upper right, notch above",
        e142(
            "<BinCode>.17.</BinCode>\n<BinCode>111.</BinCode>\n",
            code_map='BinType="Ascii" NullBin="." MapType="2DArray"',
            substrate=f'{WAFER}LayoutSpecifier="Top/Dies" Orientation="180" OriginLocation="UpperRight" '
            'AxisDirection="DownLeft"',
            layouts=LAID_OUT,
        ).encode(),
        DIES,
        says={"notch": 180},
    ),
    Head(
        "a test house: E142 with all rows in one BinCode",
        e142(
            "<BinCode>\n255 001 007 255\n001 001 001 255\n</BinCode>", code_map='BinType="Decimal" NullBin="255"'
        ).encode(),
        DIES,
    ),
    Head(
        "a pick-and-place program: E142 list of dies, axes left out",
        e142(
            "".join(f'<BinCode X="{x}" Y="{y}">{b}</BinCode>' for x, y, b in DIES),
            code_map='BinType="Ascii" NullBin="." MapType="Coordinate"',
        ).encode(),
        tuple((x, 1 - y, b) for x, y, b in DIES),
        reading={"origin": "lower left"},
    ),
    Head(
        "the same with its axes",
        e142(
            "".join(f'<BinCode X="{x + 3}" Y="{y - 2}">{b}</BinCode>' for x, y, b in DIES),
            code_map='BinType="Ascii" NullBin="." MapType="Coordinate"',
            substrate=f'{WAFER}AxisDirection="DownRight"',
        ).encode(),
        tuple((x + 3, y - 2, b) for x, y, b in DIES),
    ),
    Head(
        "STDF to CSV: the usual headings",
        b"X_COORD,Y_COORD,HBIN\r\n1,0,1\r\n2,0,7\r\n0,1,1\r\n1,1,1\r\n2,1,1\r\n",
        DIES,
        says={"kind": "CSV table"},
    ),
    Head(
        "pandas: floats, a lot in each row",
        b"lot_id,wafer_id,die_x,die_y,bin\nL7,3,1.0,0.0,1\nL7,3,2.0,0.0,7\n",
        DIES[:2],
        says={"lot": "L7", "wafer": "3"},
    ),
    Head("Excel in Europe", b"\xef\xbb\xbfsep=;\r\nDieX;DieY;Bin;\r\n1;0;1;\r\n2;0;7;\r\n", DIES[:2]),
    Head("an old Macintosh", b"col\trow\tsbin\r1\t0\t1\r2\t0\t7\r", DIES[:2]),
    Head("a wafer drawing tool: a grid of marks", b".,X,X,.\nX,X,X,.\n", tuple((x, y, "") for x, y, _ in DIES)),
    Head("a spreadsheet of bins", b".,1,7,.\n1,1,1,1\n", (*DIES, (3, 1, "1"))),
)

REFUSED = (
    Head("STDF", b"\x02\x00\x00\x0a\x02\x04\x2a\x00\x01\x0a", refused="found an STDF file"),
    Head("STDF of a SPARC", b"\x00\x02\x00\x0a\x01\x04\x00\x2a\x01\x0a", refused="found an STDF file"),
    Head("STDF, compressed", b"\x1f\x8b\x08\x08abc", refused="found a gzip archive"),
    Head("ATDF", b"FAR:A|4|2|U\nMIR:L7|W3|\n", refused="found an STDF file as text (ATDF)"),
    Head(
        "Excel", b"PK\x03\x04\x14\0\x06\0\x08\0[Content_Types].xml xl/workbook.xml", refused="an Excel workbook (xlsx)"
    ),
    Head("Excel of 2003", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(64), refused="an old Office document (xls)"),
    Head(
        "Excel as XML",
        b'<?xml version="1.0"?>\n<Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet"/>',
        refused="an Excel workbook as XML",
    ),
    Head("LibreOffice", b"PK\x03\x04\x14\0\0\x08mimetypeapplication/vnd.oasis.opendocument.spreadsheet", refused="ods"),
    Head("a zip of maps", b"PK\x03\x04\x14\0\0\x08 W01.xml", refused="found a zip archive"),
    Head("a data sheet", b"%PDF-1.7\n%\xe2\xe3", refused="found a PDF"),
    Head("a mask", b"\x00\x06\x00\x02\x00\x07", refused="found a GDSII layout"),
    Head("an HDF5 file", b"\x89HDF\r\n\x1a\n\0", refused="found an HDF5 file"),
    Head("a prober's own file", b"\x07OPERATOR01\0\0\x12\x01", refused="found a binary file of an unknown kind"),
    Head(
        "an inspection tool: KLARF 1.2",
        b'FileVersion 1 2;\nFileTimestamp 02-03-26 10:11:12;\nSampleType WAFER;\nLotID "K7";\n',
        refused="found a KLARF of defects",
    ),
    Head("KLARF 1.8", b'Record FileRecord "1.8"\n{\n Record LotRecord "K7"\n {\n', refused="found a KLARF of defects"),
    Head(
        "SINF",
        b"DEVICE:AB12\nLOT:K7.1\nWAFER:03\nFNLOC:180\nROWCT:2\nCOLCT:4\nBCEQU:01\nDUTMS:mm\nRowData:__ 01 07 __\n",
        refused="found a SINF map (INF)",
    ),
    Head(
        "STIF",
        b"WM - V1.1 - STMicroelectronics Wafer Map File\n\nLOT\tK7\nWAFER\t03\nFLAT\t0\nNULBC\t126\n~~!~\n",
        refused="found a STIF map",
    ),
    Head(
        "SECS map as text", b"MAPTYP=0\nMID=K7-03\nIDTYP=2\nFNLOC=0\nROWCT=2\nSTART\n.17.\n", refused="a SECS map (E5)"
    ),
    Head("a foundry", b"UMC\nK7\nK7-03\nROWCNT 2\nCOLCNT 4\nPASBIN 1\n.17.\n", refused="a prober's map with ROWCNT"),
    Head(
        "a saw",
        b"Flat_Notch  : Down\nProduct AB12\nLot K7\nNlines: 2\n.17.\n",
        refused="a prober's map with Flat_Notch",
    ),
    Head("a manual prober", b"FILE_VER 100\nWaferName K7\nFlat 1\nNumberRow 2\n", refused="found a Wentworth map"),
    Head(
        "ASCII G85", b'WAFER_MAP = {\nWAFER_ID = "K7-03"\nMAP_TYPE = "ASCII"\n', refused="found an ASCII SEMI G85 map"
    ),
    Head("a web page", b"<!DOCTYPE html>\n<html><body>404</body></html>\n", refused="found an HTML page"),
    Head("JSON", b'{"dies": [[0, 1], [2, 3]]}\n', refused="found a JSON file"),
    Head("JSON, a list", b"[[0, 1],\n [2, 3]]\n", refused="found a JSON file"),
    Head("a wafer file of this suite", b"name: W01\nmap_file: lot.csv\n", refused="found a YAML file of this suite"),
    Head("Excel, Unicode text", "x\ty\n1\t2\n".encode("utf-16"), refused="found a text in UTF-16"),
    Head("the same without its mark", "x\ty\n1\t2\n".encode("utf-16-le"), refused="found a text in UTF-16"),
    Head("a card dealer's XML", b"<!DOCTYPE IBIS SYSTEM 'ibis.dtd'>\n<IBIS></IBIS>\n", refused="found an IBIS map"),
    Head("another XML", b"<?xml version='1.0'?><WaferMap/>", refused="found XML of WaferMap"),
    Head(
        "entities that name a file",
        b'<?xml version="1.0"?><!DOCTYPE Maps [<!ENTITY a SYSTEM "file:///etc/hostname">]><Maps>&a;</Maps>',
        refused="a document type (DTD)",
    ),
    Head(
        "entities that grow, behind a remark",
        b'<?xml version="1.0"?><!-- map --><!DOCTYPE Maps [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><Maps>&b;</Maps>',
        refused="a document type (DTD)",
    ),
    Head("a VB program: a blank before the XML", b' <?xml version="1.0"?><Maps/>', refused=":1: found no XML"),
    Head(
        "a string of .NET: utf-16 that is none",
        b'<?xml version="1.0" encoding="utf-16"?><Maps/>',
        refused="says 'utf-16'",
    ),
    Head(
        "no encoding of files",
        b'<?xml version="1.0" encoding="rot13"?><Maps/>',
        refused="'rot13', which is no encoding",
    ),
    Head(
        "an unknown encoding", b'<?xml version="1.0" encoding="x-mac-9"?><Maps/>', refused="which is no known encoding"
    ),
    Head(
        "another encoding than it says",
        g85(NEW, DECIMAL, device='LotId="µ" BinType="Decimal" NullBin="255"').encode("latin-1"),
        refused=":4: found the byte 0xb5, expected characters of 'utf-8'",
    ),
    Head(
        "a strip",
        e142(ROWS, code_map='BinType="HexaDecimal" NullBin="FF"', substrate='SubstrateType="Strip"').encode(),
        refused="found the map of a strip, expected one of a wafer",
    ),
    Head(
        "devices within devices",
        e142(
            ROWS,
            code_map='BinType="HexaDecimal" NullBin="FF"',
            substrate=f'{WAFER}LayoutSpecifier="Top/Dies"',
            layouts=LAID_OUT.replace('X="1" Y="1"', 'X="2" Y="1"'),
        ).encode(),
        refused="found devices within 2 x 1 others (Layout)",
    ),
    Head(
        "another size than its layout",
        e142(
            ROWS,
            code_map='BinType="HexaDecimal" NullBin="FF"',
            substrate=f'{WAFER}LayoutSpecifier="Top/Dies"',
            layouts=LAID_OUT.replace('X="4"', 'X="5"'),
        ).encode(),
        refused="found 4 columns of codes, expected 5 as the file says",
    ),
    Head(
        "a transfer map",
        b"<MapData><SubstrateMaps><SubstrateMap><TransferMap/></SubstrateMap></SubstrateMaps></MapData>",
        refused="found 0 BinCodeMap (TransferMap)",
    ),
    Head(
        "a lot of wafers in one file",
        b"<MapData><SubstrateMaps><SubstrateMap/><SubstrateMap/></SubstrateMaps></MapData>",
        refused="with 2 SubstrateMap, expected a SEMI E142 substrate map with one",
    ),
    Head(
        "a list of dies whose axes nobody says",
        e142('<BinCode X="1" Y="0">1</BinCode>', code_map='BinType="Ascii" NullBin="." MapType="Coordinate"').encode(),
        refused="says neither OriginLocation nor AxisDirection",
    ),
    Head(
        "codes of six characters",
        e142("<BinCode>000001</BinCode>", code_map='BinType="Ascii" NullBin="999999"').encode(),
        refused="NullBin: found '999999', expected a bin code of one character",
    ),
    Head(
        "blanks in a row of characters",
        g85(NEW, ["1  7", "1 11"], device='BinType="Ascii" NullBin="."').encode(),
        refused="row 1: found blanks within a row of Ascii codes, of which none is NullBin",
    ),
    Head(
        "a revision to come",
        g85(NEW.replace("0703", "1130"), DECIMAL, device='BinType="Decimal" NullBin="255"').encode(),
        refused="FormatRevision is 'SEMI G85-1130', expected G85 in the revision 1101, 0303, 0703",
    ),
    Head(
        "a reference device, and nobody says what it counts from",
        e142(
            ROWS,
            code_map='BinType="HexaDecimal" NullBin="FF"',
            substrate=WAFER + UPPER_LEFT,
            references=FIRST_DEVICE,
        ).encode(),
        refused="count the reference device from 0 or from 1; expected 'first' beside 'reference'",
        reading={"reference": (0, 0)},
    ),
    Head(
        "three reference devices, and nobody says which",
        g85(
            NEW,
            DECIMAL,
            device='BinType="Decimal" NullBin="255" OriginLocation="2"',
            bins="".join(f'<ReferenceDevice ReferenceDeviceX="{x}" ReferenceDeviceY="1"/>' for x in (1, 2, 3)),
        ).encode(),
        refused="the map has 3 reference devices; expected 'reference_device'",
        reading={"reference": (0, 0)},
    ),
    Head("our own drawing as text", b".XX.\nXXXX\n.XX.\n", refused=":1: found '.XX.', a drawing without separators"),
    Head("a table of a lot", b"wafer,x,y\nW1,0,0\nW2,0,0\n", refused=":3: found the wafer 'W2', expected 'W1'"),
    Head("nothing", b"", refused="the map is empty"),
)
