"""How a picture is wanted: the rendering parameters of a request (PS3.18 8.3.5, 9.5).

Each is read strictly: a wrong value is refused with the name of its parameter, a wrong
name is passed over. What can only mean one thing is taken, as viewers send it: empty
places in a viewport, a window without its function.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from gateway.dicom.presentation import Presentation
from gateway.errors import BadRequest

LINEAR = "LINEAR"
LINEAR_EXACT = "LINEAR_EXACT"
SIGMOID = "SIGMOID"

#: The window functions as a query spells them (PS3.18 8.3.5.1.4).
_FUNCTIONS = {"linear": LINEAR, "linear-exact": LINEAR_EXACT, "sigmoid": SIGMOID}

#: The largest picture that is made, in pixels along one side.
LARGEST_SIDE = 8192

#: What can be written on a picture; "overlays" is ours: the planes in the file (60xx).
PATIENT = "patient"
TECHNIQUE = "technique"
OVERLAYS = "overlays"
_ANNOTATIONS = (PATIENT, TECHNIQUE, OVERLAYS)

_PROFILES = ("no", "yes", "srgb")
_KNOWN_PROFILES = (*_PROFILES, "adobergb", "rommrgb", "displayp3")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_WHOLE = re.compile(r"\+?[0-9]{1,9}")
_USUAL_QUALITY = 90


@dataclass(frozen=True, slots=True)
class Window:
    """A window of values and the function that spreads it (PS3.3 C.11.2.1.2)."""

    center: float
    width: float
    function: str = LINEAR

    @property
    def is_valid(self) -> bool:
        """Whether there is such a window: LINEAR takes at least 1, others any above 0."""
        low = self.width >= 1 if self.function == LINEAR else self.width > 0
        return low and math.isfinite(self.center) and math.isfinite(self.width)


@dataclass(frozen=True, slots=True)
class Source:
    """The part of an image that is shown; None reaches to the image's end.

    In pixels, or in fractions of the image. Flips come after the cutting.
    """

    x: float = 0.0
    y: float = 0.0
    width: float | None = None
    height: float | None = None
    mirrored: bool = False  # left and right
    upside_down: bool = False
    fractions: bool = False


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """Everything a request says of the picture it wants."""

    quality: int = _USUAL_QUALITY  # of JPEG, as libjpeg scales it
    quality_named: str = ""  # the parameter that gave it
    width: int | None = None  # of the box that the picture fits into
    height: int | None = None
    padded: bool = False  # the box is filled up with black
    enlarged: bool = True  # a small image grows to fit its box
    source: Source = Source()
    window: Window | None = None
    annotation: frozenset[str] = frozenset()
    profile: str = "no"  # "no", "yes" or "srgb"
    presentation: Presentation | None = None  # instead of `source`
    warnings: tuple[str, ...] = ()  # what was asked for and is not done


def thumbnail_of(options: RenderOptions, side: int) -> RenderOptions:
    """The same for a thumbnail: it has a size, and nothing written on it."""
    if options.width is None and options.height is None:
        options = replace(options, width=side, height=side, enlarged=False)
    return replace(options, annotation=frozenset())


def check_quality(options: RenderOptions, kind: str) -> None:
    """Raise BadRequest if a picture that loses nothing is to lose (PS3.18 8.3.5.1.2)."""
    if options.quality_named and kind != "image/jpeg":
        raise BadRequest(f"{options.quality_named}: this goes with image/jpeg alone")


def rendered_options(query: Mapping[str, str]) -> RenderOptions:
    """The parameters of `rendered` and `thumbnail` (PS3.18 8.3.5.1)."""
    annotation, warnings = _annotation(query.get("annotation", ""))
    width, height, source = _viewport(query.get("viewport", ""))
    return RenderOptions(
        quality=_quality(query, "quality"),
        quality_named="quality" if "quality" in query else "",
        width=width,
        height=height,
        padded=width is not None and height is not None,
        source=source,
        window=_window(query.get("window", "")),
        annotation=annotation,
        profile=_profile(query.get("iccprofile", "")),
        warnings=warnings,
    )


def uri_options(query: Mapping[str, str]) -> RenderOptions:
    """The parameters of WADO-URI (PS3.18 9.5.1)."""
    annotation, warnings = _annotation(query.get("annotation", ""))
    return RenderOptions(
        quality=_quality(query, "imageQuality"),
        quality_named="imageQuality" if "imageQuality" in query else "",
        width=_side(query.get("columns", ""), "columns"),
        height=_side(query.get("rows", ""), "rows"),
        source=_region(query.get("region", "")),
        window=_window_pair(
            query.get("windowCenter", ""), query.get("windowWidth", "")
        ),
        annotation=annotation,
        profile=_profile(query.get("iccprofile", "")),
        warnings=warnings,
    )


# -- single values -----------------------------------------------------------------------


def _number(text: str, name: str) -> float:
    if not _NUMBER.fullmatch(text.strip()) or not math.isfinite(float(text)):
        raise BadRequest(f"{name}: {text[:40]!r} is no number")
    return float(text)


def _whole(text: str, name: str, largest: int) -> int:
    number = int(text) if _WHOLE.fullmatch(text) else 0
    if not 1 <= number <= largest:
        raise BadRequest(
            f"{name}: {text[:40]!r} is no whole number from 1 to {largest}"
        )
    return number


def _side(text: str, name: str) -> int | None:
    return _whole(text.strip(), name, LARGEST_SIDE) if text.strip() else None


def _quality(query: Mapping[str, str], name: str) -> int:
    return _whole(query[name].strip(), name, 100) if name in query else _USUAL_QUALITY


def _profile(text: str) -> str:
    profile = text.strip().lower() or "no"
    if profile not in _KNOWN_PROFILES:
        raise BadRequest(f"iccprofile: {text[:40]!r} is none of {', '.join(_PROFILES)}")
    if profile not in _PROFILES:
        raise BadRequest(
            f"iccprofile: {profile} is not made here, only {', '.join(_PROFILES)}"
        )
    return profile


def _annotation(text: str) -> tuple[frozenset[str], tuple[str, ...]]:
    asked = [word.strip().lower() for word in text.split(",") if word.strip()]
    unknown = sorted({word for word in asked if word not in _ANNOTATIONS})
    warnings = ("an annotation that is not made here was left out",) if unknown else ()
    return frozenset(asked) - frozenset(unknown), warnings


# -- windows -----------------------------------------------------------------------------


def _window(text: str) -> Window | None:
    if not text.strip():
        return None
    parts = [part.strip() for part in text.split(",")]
    if len(parts) not in (2, 3):
        raise BadRequest("window: this is center,width,function")
    function = _FUNCTIONS.get(
        parts[2].lower().replace("_", "-") if parts[2:] else "linear"
    )
    if function is None:
        raise BadRequest(
            f"window: {parts[2][:40]!r} is none of {', '.join(_FUNCTIONS)}"
        )
    center, width = (_number(part, "window") for part in parts[:2])
    return _checked(Window(center, width, function), "window")


def _window_pair(center: str, width: str) -> Window | None:
    if not center.strip() and not width.strip():
        return None
    if not center.strip() or not width.strip():
        raise BadRequest("windowCenter and windowWidth go together: one is missing")
    window = Window(_number(center, "windowCenter"), _number(width, "windowWidth"))
    return _checked(window, "windowWidth")


def _checked(window: Window, name: str) -> Window:
    if not window.is_valid:
        low = "at least 1" if window.function == LINEAR else "above 0"
        raise BadRequest(f"{name}: the width is {low} for {window.function}")
    return window


# -- what is shown, and how large --------------------------------------------------------


def _viewport(text: str) -> tuple[int | None, int | None, Source]:
    if not text.strip():
        return None, None, Source()
    parts = [part.strip() for part in text.split(",")]
    if len(parts) not in (2, 6):
        raise BadRequest("viewport: this is width,height or width,height,sx,sy,sw,sh")
    width, height = (_side(part, "viewport") for part in parts[:2])
    if len(parts) == 2:
        return width, height, Source()
    x, y, across, down = (
        _number(part, "viewport") if part else None for part in parts[2:]
    )
    if across == 0 or down == 0:
        raise BadRequest("viewport: the source rectangle is empty")
    if min(x or 0, y or 0) < 0:
        raise BadRequest("viewport: sx and sy are not negative")
    source = Source(
        x=x or 0.0,
        y=y or 0.0,
        width=abs(across) if across else None,
        height=abs(down) if down else None,
        mirrored=(across or 1) < 0,
        upside_down=(down or 1) < 0,
    )
    return width, height, source


def _region(text: str) -> Source:
    if not text.strip():
        return Source()
    parts = text.split(",")
    if len(parts) != 4:
        raise BadRequest("region: this is xmin,ymin,xmax,ymax")
    left, top, right, bottom = (_number(part, "region") for part in parts)
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise BadRequest("region: these are fractions, 0 <= min < max <= 1")
    return Source(left, top, right - left, bottom - top, fractions=True)
