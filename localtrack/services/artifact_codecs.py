"""The kinds of artifacts that localtrack knows by itself, each with the forms of file that it may take.

Foreign libraries (numpy, pandas, PIL) are never imported to find out what an object is: one of theirs can only be
there when they are.

Source: ClearML's table of artifact types: numpy arrays, DataFrames, images, JSON, text.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO

from localtrack.errors import CorruptFileError
from localtrack.records.plain import dataclass
from localtrack.records.task import Json
from localtrack.records.values import UnstorableValueError, decode, encode
from localtrack.services import frames, yaml_text
from localtrack.services.artifact_files import media_type

__all__ = ["CODECS", "Choices", "Codec", "Form", "codec_of"]

JSON_TYPE = "application/json"


@dataclass(frozen=True, slots=True)
class Choices:
    """What the caller says about the writing.

    Attributes:
        name: the artifact's name.
        sort_keys: whether a dict's keys are sorted in the file.
    """

    name: str
    sort_keys: bool = True


@dataclass(frozen=True, slots=True)
class Form:
    """One form of file that a kind of artifact may take.

    Attributes:
        suffix: of the file, with its dot.
        content_type: media type.
        write: writes a value; returns what the file itself does not say and the reader needs, kept as ``form``.
            It raises UnstorableValueError for a value that this form can't hold.
        read: returns the value from a file and its ``form``.
    """

    suffix: str
    content_type: str
    write: Callable[[Any, BinaryIO, Choices], Json | None]
    read: Callable[[Path, Json], Any]


@dataclass(frozen=True, slots=True)
class Codec:
    """One kind of artifact.

    Attributes:
        kind: its name in the metadata.
        matches: whether it takes an object.
        preview: a text about an object.
        forms: the first one is taken unless the caller asks for another.
        other: the form for a suffix that is not in the list.
    """

    kind: str
    matches: Callable[[Any], bool]
    preview: Callable[[Any], str]
    forms: tuple[Form, ...]
    other: Callable[[str], Form | None] = lambda suffix: None

    def form(self, file_name: str) -> Form | None:
        """Return the form of a file, or of a suffix alone."""
        fitting = [form for form in self.forms if file_name.lower().endswith(form.suffix)]
        if fitting:
            return max(fitting, key=lambda form: len(form.suffix))
        return self.other(Path(file_name).suffix or file_name)


def codec_of(kind: str) -> Codec | None:
    """Return the codec of a kind; None for one that is no codec's, such as a plain file."""
    return next((codec for codec in CODECS if codec.kind == kind), None)


def is_of(value: Any, module: str, name: str) -> bool:
    """Tell whether a value is of a library's type without importing that library."""
    loaded = sys.modules.get(module)
    kind = getattr(loaded, name, None) if loaded is not None else None
    return isinstance(kind, type) and isinstance(value, kind)


# -- numpy ------------------------------------------------------------------------------------------------------------


def _is_array(value: Any) -> bool:
    return is_of(value, "numpy", "ndarray") and not value.dtype.hasobject and type(value).__name__ == "ndarray"


def _write_npz(value: Any, stream: BinaryIO, choices: Choices) -> None:
    import zipfile

    import numpy

    try:
        choices.name.encode()
        member = choices.name if "\0" not in choices.name else "array"
    except UnicodeEncodeError:
        member = "array"
    with (
        zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive,
        archive.open(f"{member}.npy", "w", force_zip64=True) as inner,
    ):
        numpy.lib.format.write_array(inner, value, allow_pickle=False)


def _read_npz(path: Path, form: Json) -> Any:
    import numpy

    with numpy.load(path, allow_pickle=False) as arrays:
        return arrays[arrays.files[0]]


def _write_npy(value: Any, stream: BinaryIO, choices: Choices) -> None:
    import numpy

    numpy.lib.format.write_array(stream, value, allow_pickle=False)


def _read_npy(path: Path, form: Json) -> Any:
    import numpy

    return numpy.load(path, allow_pickle=False)


def _write_array_text(value: Any, stream: BinaryIO, choices: Choices) -> Json:
    import numpy

    if value.ndim not in (1, 2) or value.dtype.kind not in "biuf" or value.dtype.itemsize > 8:
        raise UnstorableValueError("a table of text holds arrays of one or two dimensions, of numbers")
    spelling = "%.17g" if value.dtype.kind == "f" else "%d"
    with frames.zipped_text(stream, choices.name) as text:
        numpy.savetxt(text, value, delimiter=",", fmt=spelling)
    return {"dtype": value.dtype.str, "shape": list(value.shape)}


def _read_array_text(path: Path, form: Json) -> Any:
    import numpy

    if "dtype" not in form:
        return numpy.genfromtxt(path, delimiter=",")
    kind, shape = numpy.dtype(str(form["dtype"])), tuple(int(n) for n in form["shape"])
    if 0 in shape:
        return numpy.empty(shape, kind)
    through = numpy.dtype("i1").newbyteorder() if kind.kind == "b" else kind
    return numpy.loadtxt(path, delimiter=",", dtype=through, ndmin=2).astype(kind).reshape(shape)


# -- images -----------------------------------------------------------------------------------------------------------


def _is_image(value: Any) -> bool:
    return is_of(value, "PIL.Image", "Image")


def _image_form(suffix: str) -> Form | None:
    import PIL.Image

    PIL.Image.init()
    known = PIL.Image.registered_extensions().get(suffix.lower())
    if known is None or known not in PIL.Image.SAVE:
        return None

    def write(value: Any, stream: BinaryIO, choices: Choices) -> None:
        import io

        buffer = io.BytesIO()  # some formats go back in what they write
        try:
            value.save(buffer, format=known)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UnstorableValueError(f"{known} can't hold this image: {error}") from None
        stream.write(buffer.getbuffer())

    return Form(suffix, media_type(f"x{suffix}"), write, _read_image)


def _write_png(value: Any, stream: BinaryIO, choices: Choices) -> None:
    form = _image_form(".png")
    assert form is not None
    form.write(value, stream, choices)


def _read_image(path: Path, form: Json) -> Any:
    import PIL.Image

    with PIL.Image.open(path) as image:
        image.load()
        return image


# -- JSON and text ----------------------------------------------------------------------------------------------------

_PLAIN = (bool, int, float, str, type(None), list, tuple, set, bytes)


def _is_json(value: Any) -> bool:
    return type(value) in (list, tuple, int, float, bool, set)


def storable(value: Any) -> Any:
    """Return a value in strict JSON types from which it comes back equal.

    Raises:
        UnstorableValueError: it holds something that would come back as something else.
    """
    _check_equal_again(value)
    try:
        return encode(value)
    except RecursionError:
        raise UnstorableValueError("it holds itself, or is too deep") from None


def _check_equal_again(value: Any, depth: int = 0) -> None:
    if depth > 200:
        raise UnstorableValueError("it holds itself, or is too deep")
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_equal_again(key, depth + 1)
            _check_equal_again(item, depth + 1)
    elif type(value) in (list, tuple, set, frozenset):
        for item in value:
            _check_equal_again(item, depth + 1)
    elif type(value) not in _PLAIN and (
        isinstance(value, Enum)
        or not (isinstance(value, (int, float, str)) or _is_number_of_numpy(value) or _is_exact_date(value))
    ):
        raise UnstorableValueError(f"a {type(value).__qualname__} would come back as something else")


def _is_number_of_numpy(value: Any) -> bool:
    return is_of(value, "numpy", "number") or is_of(value, "numpy", "bool_")


def _is_exact_date(value: Any) -> bool:
    return f"{type(value).__module__}.{type(value).__qualname__}" in ("datetime.datetime", "datetime.date")


def _write_json(value: Any, stream: BinaryIO, choices: Choices) -> None:
    text = json.dumps(storable(value), indent=4, ensure_ascii=False, sort_keys=choices.sort_keys)
    stream.write(text.encode("utf-8", "surrogatepass"))


def _read_json(path: Path, form: Json) -> Any:
    try:
        return decode(json.loads(path.read_bytes().decode("utf-8", "surrogatepass")))
    except ValueError as error:
        raise CorruptFileError(f"{path} is no JSON: {error}", path=str(path)) from None


def _write_yaml(value: Any, stream: BinaryIO, choices: Choices) -> None:
    stream.write(yaml_text.dump(value, storable(value), choices.sort_keys))


def _read_yaml(path: Path, form: Json) -> Any:
    return yaml_text.load(path)


def _preview_json(value: Any) -> str:
    try:
        return json.dumps(value, indent=4, default=str, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return repr(value)


def _write_text(value: str, stream: BinaryIO, choices: Choices) -> None:
    stream.write(value.encode("utf-8", "surrogatepass"))


def _read_text(path: Path, form: Json) -> str:
    return path.read_bytes().decode("utf-8", "surrogatepass")


def _text_form(suffix: str) -> Form:
    return Form(suffix, media_type(f"x{suffix}"), _write_text, _read_text)


# -- the list ---------------------------------------------------------------------------------------------------------


def _frame_form(suffix: str, content_type: str, how: str) -> Form:
    return Form(
        suffix, content_type, lambda value, stream, choices: frames.write(how, value, stream, choices.name),
        lambda path, form: frames.read(how, path, form),
    )  # fmt: skip


_PARQUET = _frame_form(".parquet", "application/vnd.apache.parquet", "parquet")
_FRAME_FORMS = (
    _PARQUET, _frame_form(".feather", "application/vnd.apache.arrow.file", "feather"),
    _frame_form(".csv.gz", "text/csv", "csv.gz"), _frame_form(".csv", "text/csv", "csv"),
)  # fmt: skip
_JSON_FORMS = (
    Form(".json", JSON_TYPE, _write_json, _read_json),
    Form(".yaml", "application/yaml", _write_yaml, _read_yaml),
    Form(".yml", "application/yaml", _write_yaml, _read_yaml),
)
CODECS: tuple[Codec, ...] = (
    Codec(
        "numpy", _is_array, lambda value: f"shape {value.shape}, dtype {value.dtype}\n{value!r}",
        (
            Form(".npz", "application/x-npz", _write_npz, _read_npz), Form(".npy", "application/x-npy", _write_npy, _read_npy),
            Form(".csv.gz", "text/csv", _write_array_text, _read_array_text),
        ),
    ),
    Codec("pandas", lambda value: is_of(value, "pandas", "DataFrame"), frames.preview, _FRAME_FORMS),
    Codec(
        "image", _is_image, lambda value: f"{value.size[0]} x {value.size[1]}, {value.mode}",
        (Form(".png", "image/png", _write_png, _read_image),), _image_form,
    ),
    Codec("dict", lambda value: isinstance(value, Mapping), _preview_json, _JSON_FORMS),
    Codec("JSON", _is_json, _preview_json, _JSON_FORMS),
    Codec(
        "string", lambda value: type(value) is str and bool(value), str,
        (Form(".txt", "text/plain", _write_text, _read_text),), _text_form,
    ),
    Codec(frames.REGISTERED, lambda value: False, frames.preview, (_PARQUET,)),
)  # fmt: skip
