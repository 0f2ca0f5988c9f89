"""A picture of an instance that is still to be looked up, so that a thread can do both."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from gateway.contents import Examine
from gateway.dicom.job import Job
from gateway.storage.index import Instance

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Wanted(Generic[T]):
    """A picture of an instance that is still to be looked up."""

    names: tuple[str, ...]  # its address, or Orthanc's identifier
    work: Callable[..., bytes]  # makes it of the job, and `read` that reads the file
    look: Examine[tuple[T, Job | None]]  # finds its job, or something else
    asked: tuple[Hashable, ...]  # what the job has of numbers, options and media type

    def key(self, instance: Instance) -> Hashable:
        """What the picture of this instance is kept by."""
        return (self.work, instance.blob, *self.asked)


@dataclass(frozen=True, slots=True)
class Seen(Generic[T]):
    """What became of it."""

    instance: Instance
    found: T | None  # by the look, if it gave no job or one that is not light
    picture: bytes | None
