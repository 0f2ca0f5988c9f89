"""What there is to see of an instance, found in its header.

Most of a header has nothing to do with pictures: it is parsed and let go in the thread
that reads it, and only the rest is handed on.
"""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.archive import Archive, Instance
from gateway.dicom.codecs import can_decode
from gateway.dicom.hierarchy import Attributes, Level
from gateway.dicom.render import attributes_ever
from gateway.dicom.subject import Subject, subject_of


@dataclass(frozen=True, slots=True)
class Header:
    """What pictures depend on, and where those values lie that the file keeps."""

    attributes: Attributes
    places: dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Shown:
    """An instance, and what there is to see of it."""

    instance: Instance
    subject: Subject
    header: Header | None = None  # of one that is shown at once


async def shown(archive: Archive, instance: Instance) -> Shown:
    """What there is to see of an instance."""

    def examine(header: bytes, places: dict[str, Any]) -> Subject:
        return subject_of(orjson.loads(header), instance.transfer_syntax, places)

    return Shown(instance, await archive.header(instance, examine))


async def found(archive: Archive, *uids: str) -> Shown:
    """What there is to see of the instance at an address; raises NotFound."""

    _, one = await archive.described(*uids, examine=at_once)
    return one


def at_once(instance: Instance, header: bytes, places: dict[str, Any]) -> Shown:
    """The same with what its pictures depend on; for a thread."""
    attributes = orjson.loads(header)
    subject = subject_of(attributes, instance.transfer_syntax, places)
    # All others go here, in the thread, while they are in the processor's caches.
    return Shown(instance, subject, Header(attributes_ever(attributes), places))


async def images(
    archive: Archive, level: Level, uids: Sequence[str]
) -> tuple[list[Instance], int]:
    """The instances with an image that can be shown, in order; how many have another."""
    held: dict[tuple[str, str, str], Instance] = {}
    async with aclosing(archive.instances(level, *uids)) as groups:
        async for group in groups:
            held |= {(one.study, one.series, one.uid): one for one in group}

    def is_image(study: str, series: str, uid: str, header: bytes) -> Any:
        instance = held.get((study, series, uid))
        return instance and (instance, _has_image(header, instance.transfer_syntax))

    found: list[Instance] = []
    others = 0
    async with aclosing(archive.headers(level, *uids, present=is_image)) as told:
        async for pairs in told:
            for instance, can_be_shown in filter(None, pairs):
                if can_be_shown:
                    found.append(instance)
                others += can_be_shown is False
    return found, others


def _has_image(header: bytes, transfer_syntax: str) -> bool | None:
    """Whether there is an image that can be shown; None if there is none at all."""
    if b'"7FE000' not in header:
        return None
    attributes: Attributes = orjson.loads(header)
    places = {
        tag.lower(): (0, 0)
        for tag in attributes
        if tag.startswith("7FE0") and "BulkDataURI" in attributes[tag]
    }
    subject = subject_of(attributes, transfer_syntax, places)
    if subject.layout is None:
        return None
    return can_decode(subject.layout)
