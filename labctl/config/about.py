"""What is said about a published run that no file of the run says: who, under which licence, of which sample."""

from datetime import date

from pydantic import Field

from labctl.core.model import Line, Model


class Author(Model):
    """A person who made what is published."""

    name: Line = Field(min_length=1, description="as it is printed")
    affiliation: Line = Field(default="", description="institution")
    orcid: str = Field(
        default="",
        pattern=r"^([0-9]{4}-){3}[0-9]{3}[0-9X]$",
        json_schema_extra={"x-form": "an ORCID iD such as 0000-0002-1825-0097"},
        description="ORCID iD",
    )


class Origin(Model):
    """One step in the life of the sample."""

    step: Line = Field(min_length=1, description="what was made of what: 'stack sputtered on wafer 7 of lot L3'")
    when: date | None = Field(default=None, description="day, YYYY-MM-DD")
    by: Line = Field(default="", description="who, or where")


class About(Model):
    """What a bundle says besides the files of its run. All of it may be left out; the licence is then an option."""

    licence: Line = Field(default="", description="under which the bundle is published: an SPDX name or an address")
    title: Line = Field(default="", description="of the bundle; that of the campaign if left out")
    description: str = Field(default="", max_length=10_000, description="what was measured, and why")
    authors: tuple[Author, ...] = Field(default=(), description="who made it")
    publisher: Line = Field(default="", description="institution that publishes it")
    keywords: tuple[Line, ...] = Field(default=(), description="words to find it by")
    genealogy: tuple[Origin, ...] = Field(default=(), description="where the sample comes from, the oldest step first")
    probe_card: Line = Field(default="", description="maker, model and serial number, or how the needles were set")
    ambient: Line = Field(default="", description="temperature, humidity, light, field around the sample")
    notes: str = Field(default="", max_length=10_000, description="whatever else a reader should know")
