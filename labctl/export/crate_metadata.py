"""``ro-crate-metadata.json`` of a bundle: RO-Crate 1.1, a graph of files, people, sample, instruments and actions.

Source: RO-Crate Metadata Specification 1.1 (https://w3id.org/ro/crate/1.1): the descriptor, the root data set with
name, description, datePublished and license, a File for each file, actions for what made what. What it asks for
is compared by `labctl.export.crate_check`. A bundle was read by rocrate 0.16.0, and roc-validator 0.13.0, profile
ro-crate-1.1, found nothing that is required missing, and of what is recommended the addresses of organizations; without
network it had the context of version 1.3.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from labctl.config.about import About
from labctl.export.dictionary import Word
from labctl.storage.identity import Identity

NAME = "ro-crate-metadata.json"
VERSION = "https://w3id.org/ro/crate/1.1"
CONTEXT = [f"{VERSION}/context", {"sha256": "http://schema.org/sha256"}]
TYPES = {
    ".h5": "application/x-hdf5", ".csv": "text/csv", ".py": "text/x-python", ".png": "image/png",
    ".md": "text/markdown",
    ".yaml": "application/yaml", ".json": "application/json", ".npz": "application/zip", ".xml": "application/xml",
}  # fmt: skip


@dataclass(frozen=True)
class CrateFile:
    """A file of a bundle.

    Args:
        path: within the bundle, with slashes.
        title: what it is, for people.
    """

    path: str
    title: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Facts:
    """What the metadata are made of.

    Args:
        licence: as the user gave it.
        about: what the user said besides.
        operator: whom the campaign names, "" if nobody.
        started, ended: of the run, ISO 8601.
        body: what the dies were: simulated, a bench, or its twin.
        instruments: who they said they are, by name; `calibrations` likewise.
        drawn: pictures by the script that draws them; `drawn_with`: versions of the libraries with which they were.
        left_out: why files or dies are left out, by name.
        dies: names and wafers of dies.
    """

    title: str
    licence: str
    published: str
    about: About
    operator: str
    started: str
    ended: str
    body: str
    seed: Any
    temperature: float | None
    version: str
    commit: str
    identity: Identity
    instruments: Mapping[str, str]
    calibrations: Mapping[str, str]
    dies: Sequence[tuple[str, str]]
    drawn: Mapping[str, Sequence[str]]
    drawn_with: Mapping[str, str]
    left_out: Mapping[str, str] = field(default_factory=dict)


def licence_address(licence: str) -> str:
    """Return the address of a licence: that of an SPDX name, or what is one already.

    >>> licence_address("CC-BY-4.0"), licence_address("https://example.org/terms")
    ('https://spdx.org/licenses/CC-BY-4.0', 'https://example.org/terms')
    """
    return licence if re.match(r"https?://", licence) else f"https://spdx.org/licenses/{licence}"


def description_of(facts: Facts) -> str:
    """Return what a bundle holds, in a few sentences."""
    simulated = "" if facts.body not in ("simulated",) and "twin" not in facts.body else " No device was measured."
    dies = f"{len(facts.dies)} die{'' if len(facts.dies) == 1 else 's'} of magnetic tunnel junctions"
    own = f"{facts.about.description.strip()}\n\n" if facts.about.description.strip() else ""
    return f"{own}Data of {dies}, body: {facts.body}.{simulated} Recorded by mtj-labctl {facts.version}."


def metadata(facts: Facts, files: Sequence[CrateFile], words: Sequence[Word]) -> str:
    """Return the text of ``ro-crate-metadata.json``."""
    licence = licence_address(facts.licence)
    people = _people(facts)
    sample = _sample(facts)
    tools = _tools(facts)
    root: dict[str, Any] = {
        "@id": "./",
        "@type": "Dataset",
        "name": facts.title,
        "description": description_of(facts),
        "datePublished": facts.published,
        "license": {"@id": licence},
        "hasPart": [{"@id": file.path} for file in files],
        "mentions": _ids(["#run", *(f"#draw-{script}" for script in facts.drawn)]),
        "variableMeasured": _ids(f"#{word.table}.{word.column}" for word in words),
    }
    if authors := [one for one in people if "author" in one]:
        root["author"] = _ids(one["@id"] for one in authors)
    if facts.about.publisher:
        root["publisher"] = {"@id": _organization(facts.about.publisher)}
    if facts.about.keywords:
        root["keywords"] = ", ".join(facts.about.keywords)
    if facts.about.notes:
        root["comment"] = {"@id": "#notes"}
    graph: list[dict[str, Any]] = [
        {"@id": NAME, "@type": "CreativeWork", "about": {"@id": "./"}, "conformsTo": {"@id": VERSION}},
        root,
        {"@id": licence, "@type": "CreativeWork", "name": facts.licence},
        *(_file(file, facts) for file in files),
        *({key: value for key, value in one.items() if key != "author"} for one in people),
        *_organizations(facts.about),
        *sample,
        *tools,
        *_actions(facts, files, people, sample, tools),
        *(_variable(word) for word in words),
    ]
    if facts.about.notes:
        graph.append({"@id": "#notes", "@type": "Comment", "text": facts.about.notes})
    return json.dumps({"@context": CONTEXT, "@graph": graph}, indent=1, ensure_ascii=False) + "\n"


def _ids(names: Iterable[str]) -> list[dict[str, str]] | dict[str, str]:
    """Return references to entities; one stands by itself, as RO-Crate recommends."""
    references = [{"@id": name} for name in names]
    return references[0] if len(references) == 1 else references


def _file(file: CrateFile, facts: Facts) -> dict[str, Any]:
    kind = "." + file.path.rpartition(".")[2]
    entity: dict[str, Any] = {
        "@id": file.path,
        "@type": ["File", "SoftwareSourceCode"]
        if kind == ".py"
        else ["File", "ImageObject"]
        if kind == ".png"
        else "File",
        "name": file.title,
        "contentSize": str(file.bytes),
        "sha256": file.sha256,
        "encodingFormat": TYPES.get(kind, "application/octet-stream"),
    }
    if kind == ".py":
        entity["programmingLanguage"] = {"@id": "#python"}
        entity["softwareRequirements"] = ", ".join(f"{name} {version}" for name, version in facts.drawn_with.items())
    return entity


def _people(facts: Facts) -> list[dict[str, Any]]:
    """Return the persons; those who are authors have the key `author`, which no graph has."""
    people: dict[str, dict[str, Any]] = {}
    for author in facts.about.authors:
        key = f"https://orcid.org/{author.orcid}" if author.orcid else f"#person-{_slug(author.name)}"
        people[author.name] = {"@id": key, "@type": "Person", "name": author.name, "author": True}
        if author.affiliation:
            people[author.name]["affiliation"] = {"@id": _organization(author.affiliation)}
    if facts.operator and facts.operator not in people:
        key = f"#person-{_slug(facts.operator)}"
        people[facts.operator] = {"@id": key, "@type": "Person", "name": facts.operator}
    return list(people.values())


def _organization(name: str) -> str:
    return f"#organization-{_slug(name)}"


def _organizations(about: About) -> list[dict[str, Any]]:
    names = dict.fromkeys([about.publisher, *(author.affiliation for author in about.authors)])
    return [{"@id": _organization(name), "@type": "Organization", "name": name} for name in names if name]


def _property(name: str, value: object, unit: str = "") -> dict[str, Any]:
    return {"@type": "PropertyValue", "name": name, "value": value, **({"unitText": unit} if unit else {})}


def _sample(facts: Facts) -> list[dict[str, Any]]:
    """Return the sample: dies of wafers of a lot, and how the sample came to be."""
    graph: list[dict[str, Any]] = []
    genealogy: list[dict[str, Any]] = []
    for number, origin in enumerate(facts.about.genealogy, start=1):
        told: dict[str, Any] = {
            "@id": f"#origin-{number}",
            "@type": "CreateAction",
            "name": origin.step,
            "position": number,
        }
        told |= {"endTime": origin.when.isoformat()} if origin.when else {}
        told |= {"description": f"by {origin.by}"} if origin.by else {}
        genealogy.append(told)
    wafers = list(dict.fromkeys(wafer for _, wafer in facts.dies if wafer))
    if facts.identity.lot:
        graph.append({"@id": "#lot", "@type": "Product", "name": f"lot {facts.identity.lot}"})
    for wafer in wafers:
        entity: dict[str, Any] = {"@id": f"#wafer-{_slug(wafer)}", "@type": "Product", "name": f"wafer {wafer}"}
        entity |= {"isRelatedTo": {"@id": "#lot"}} if facts.identity.lot else {}
        if facts.identity.notch is not None:
            entity["description"] = f"notch {facts.identity.notch} degrees clockwise from the bottom"
        if genealogy:
            entity["subjectOf"] = _ids(one["@id"] for one in genealogy)
        graph.append(entity)
    for die, wafer in facts.dies:
        entity = {"@id": f"#die-{_slug(die)}", "@type": "Product", "name": f"die {die}"}
        entity |= {"isRelatedTo": {"@id": f"#wafer-{_slug(wafer)}"}} if wafer else {}
        if genealogy and not wafer:
            entity["subjectOf"] = _ids(one["@id"] for one in genealogy)
        graph.append(entity)
    return [*graph, *genealogy]


def _tools(facts: Facts) -> list[dict[str, Any]]:
    graph: list[dict[str, Any]] = [
        {"@id": "#mtj-labctl", "@type": "SoftwareApplication", "name": "mtj-labctl", "version": facts.version},
        {"@id": "#python", "@type": "ComputerLanguage", "name": "Python"},
    ]
    if facts.commit:
        graph[0]["softwareVersion"] = f"{facts.version}, commit {facts.commit}"
    for name, identity in facts.instruments.items():
        entity = {"@id": f"#instrument-{_slug(name)}", "@type": "Product", "name": identity or name}
        entity["description"] = f"calibration: {facts.calibrations.get(name) or 'nothing is known of it'}"
        graph.append(entity)
    if facts.about.probe_card:
        graph.append({"@id": "#probe-card", "@type": "Product", "name": f"probe card: {facts.about.probe_card}"})
    return graph


def _actions(
    facts: Facts,
    files: Sequence[CrateFile],
    people: Sequence[Mapping[str, Any]],
    sample: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    data = [file.path for file in files if file.path.startswith("data/")]
    conditions = [_property("body", facts.body), _property("seed", facts.seed)]
    if facts.temperature is not None:
        conditions.append(_property("temperature of the dies", facts.temperature, "K"))
    if facts.about.ambient:
        conditions.append(_property("ambient", facts.about.ambient))
    conditions += [_property(f"left out: {name}", why) for name, why in facts.left_out.items()]
    for number, one in enumerate(conditions):
        one["@id"] = f"#condition-{number}"
    run: dict[str, Any] = {
        "@id": "#run",
        "@type": "CreateAction",
        "name": f"run of {facts.title}",
        "startTime": facts.started,
        "endTime": facts.ended,
        "instrument": _ids(one["@id"] for one in tools if one["@id"] != "#python"),
        "object": _ids(
            [*(file.path for file in files if file.path.startswith("inputs/"))]
            + [one["@id"] for one in sample if one["@id"].startswith("#die-")]
        ),
        "result": _ids(data),
        "additionalProperty": _ids(one["@id"] for one in conditions),
    }
    if operator := next((one["@id"] for one in people if one["name"] == facts.operator), ""):
        run["agent"] = {"@id": operator}
    drawings = [
        {
            "@id": f"#draw-{script}",
            "@type": "CreateAction",
            "name": f"draw the pictures of {script}",
            "instrument": {"@id": script},
            "object": _ids(data),
            "result": _ids(pictures),
        }
        for script, pictures in facts.drawn.items()
    ]
    return [run, *conditions, *drawings]


def _variable(word: Word) -> dict[str, Any]:
    entity: dict[str, Any] = {
        "@id": f"#{word.table}.{word.column}",
        "@type": "PropertyValue",
        "name": f"{word.table}.{word.column}",
        "description": word.meaning or "its protocol does not say",
    }
    return entity | ({"unitText": word.unit} if word.unit else {})


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "-", name)
