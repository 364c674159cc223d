"""Images and media: from every source, whole, at the place asked for, and none removed that nobody asked to remove."""

from __future__ import annotations

import hashlib
import io
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy
import PIL.Image
import pytest

from localtrack import Task
from localtrack.errors import InvalidValueError, MissingExtraError, StorageError, UsageError

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/format/schemas/media.schema.json").read_text())
NOISE = numpy.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype("uint8")


def pixels_of(sample: dict[str, Any]) -> Any:
    """Return the stored picture's pixels."""
    with PIL.Image.open(sample["url"]) as image:
        return numpy.asarray(image)


def samples(task: Task, title: str = "t", series: str = "s") -> list[dict[str, Any]]:
    """Return the records, checked against the format and against their files."""
    found = task.get_debug_samples(title, series)
    for path in task._where().glob("media/*.json"):
        jsonschema.validate(json.loads(path.read_text()), SCHEMA)
    for sample in found:
        path = Path(sample["url"].removeprefix("file://"))
        if "sha256" in sample and path.is_absolute():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == sample["sha256"]
            assert path.stat().st_size == sample["size_bytes"]
    return found


@pytest.mark.parametrize(
    ("image", "shown"),
    [
        (NOISE, NOISE),
        (NOISE / 255.0, NOISE),
        ((NOISE / 255.0).astype("float32"), NOISE),
        (NOISE.astype("float64"), NOISE),
        (NOISE.transpose(2, 0, 1), NOISE),
        (NOISE[:, :, 0], NOISE[:, :, 0]),
        (NOISE[:, :, :1], NOISE[:, :, 0]),
        (NOISE[:, ::2, 0], NOISE[:, ::2, 0]),
        (NOISE[:, :, 0] > 100, (NOISE[:, :, 0] > 100) * numpy.uint8(255)),
        (NOISE.astype("int64") * 2 - 100, (NOISE.astype("int64") * 2 - 100).clip(0, 255)),
        (PIL.Image.fromarray(NOISE), NOISE),
        (PIL.Image.fromarray(NOISE).convert("L"), numpy.asarray(PIL.Image.fromarray(NOISE).convert("L"))),
        (numpy.array([[0.0, numpy.nan], [numpy.inf, 1.0]]), numpy.array([[0, 0], [255, 255]])),
    ],
)
def test_pictures_show_the_same_pixels(task: Task, image: Any, shown: Any) -> None:
    """Every kind of array, and PIL images, are kept without loss."""
    task.get_logger().report_image("t", "s", 1, image=image)
    assert (pixels_of(samples(task)[0]) == shown).all()


@pytest.mark.parametrize(
    "image", ["text", numpy.zeros(3), numpy.zeros((2, 2, 7)), numpy.zeros((0, 3)), numpy.array([["a"]])]
)
def test_what_is_no_image(task: Task, image: Any) -> None:
    """An object that is no image is refused with its shape or type, and nothing is stored."""
    with pytest.raises(InvalidValueError):
        task.get_logger().report_image("t", "s", 1, image=image)
    assert samples(task) == []


def test_sources_of_images(task: Task, tmp_path: Path) -> None:
    """A file is copied byte by byte, an address is noted, the older names do the same; one source exactly."""
    path = tmp_path / "ü.png"
    PIL.Image.fromarray(NOISE).save(path)
    log = task.get_logger()
    log.report_image("t", "s", 1, local_path=str(path))
    log.report_image("t", "s", 2, url="s3://bucket/a.png")
    log.report_image_and_upload("t", "s", 3, path=str(path))
    log.report_image_and_upload("t", "s", 4, matrix=NOISE)
    found = samples(task)
    assert Path(found[0]["url"]).read_bytes() == path.read_bytes() == Path(found[2]["url"]).read_bytes()
    assert found[1]["url"] == "s3://bucket/a.png"
    assert "sha256" not in found[1]
    assert (pixels_of(found[3]) == NOISE).all()
    for sources in ({}, {"image": NOISE, "url": "x"}, {"local_path": str(path), "url": "x"}):
        with pytest.raises(UsageError):
            log.report_image("t", "s", 1, **sources)
    with pytest.raises(UsageError, match="no file"):
        log.report_image("t", "s", 1, local_path=str(tmp_path / "none.png"))


@pytest.mark.parametrize("mode", ["w+", "w+b"])
def test_open_files(task: Task, tmp_path: Path, mode: str) -> None:
    """A file that was just written is kept whole, as far as it has come, and can be written on."""
    lines: list[Any] = ["é,1\n", "b,2\n"] if mode == "w+" else [b"a,1\n", b"b,2\n"]
    with open(tmp_path / "table.csv", mode, encoding="utf-8" if mode == "w+" else None) as file:
        file.write(lines[0])
        task.get_logger().report_media("t", "s", 1, stream=file, file_extension=".csv")  # type: ignore[arg-type]
        file.write(lines[1])
    (found,) = samples(task)
    first, second = (line.encode() if mode == "w+" else line for line in lines)
    assert Path(found["url"]).read_bytes() == first
    assert (tmp_path / "table.csv").read_bytes() == first + second


def test_a_stream_that_can_not_go_back(task: Task) -> None:
    """What is yet to come of a pipe is kept."""
    read, write = os.pipe()
    with open(write, "wb") as sink:
        sink.write(b"piped")
    with open(read, "rb") as source:
        task.get_logger().report_media("t", "s", 1, stream=source, file_extension=".txt")  # type: ignore[arg-type]
    (found,) = samples(task)
    assert Path(found["url"]).read_bytes() == b"piped"


@pytest.mark.parametrize("stream", [io.BytesIO(b"\0raw"), io.StringIO("é"), b"raw", "text"])
def test_streams(task: Task, stream: Any) -> None:
    """Streams of bytes and text are stored from their start, also when the script has just written to them."""
    if hasattr(stream, "seek"):
        stream.seek(0, os.SEEK_END)
    task.get_logger().report_media("t", "s", 1, stream=stream, file_extension="html")
    data = stream.getvalue() if hasattr(stream, "getvalue") else stream
    found = samples(task)[0]
    assert Path(found["url"]).read_bytes() == (data.encode() if isinstance(data, str) else data)
    assert found["content_type"] == "text/html"


def test_an_extension_is_no_path(task: Task) -> None:
    """An extension with slashes in it can't lead out of the folder."""
    task.get_logger().report_media("t", "s", 1, stream="x", file_extension="/../../../evil")
    assert Path(samples(task)[0]["url"]).parent == task._where() / "media"


def test_delete_after_upload(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's file goes once it is stored; where it could not be stored, it stays."""
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_text("one")
    second.write_text("two")
    log = task.get_logger()
    log.report_media("t", "s", 1, local_path=str(first), delete_after_upload=True)
    assert not first.exists()
    assert Path(samples(task)[0]["url"]).read_text() == "one"
    disk = task._ctx.store.disk

    def full(*_: object) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk, "publish_file", full)
    log.report_media("t", "s", 2, local_path=str(second), delete_after_upload=True)
    assert second.read_text() == "two"
    assert len(samples(task)) == 1


def test_a_full_disk_is_made_up_for(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that the disk refused is stored when there is room again; the script sees no error."""
    disk = task._ctx.store.disk
    with monkeypatch.context() as patched:

        def full(*_: object) -> bool:
            raise OSError(28, "No space left on device")

        patched.setattr(disk, "publish_file", full)
        task.get_logger().report_image("t", "s", 1, image=NOISE)
        assert samples(task) == []
    assert task._session is not None
    task._session.edits.retry()
    assert (pixels_of(samples(task)[0]) == NOISE).all()


def test_nothing_is_removed_by_default(task: Task) -> None:
    """Two hundred images of one title and series stay, all of them."""
    assert task.get_logger().get_default_debug_sample_history() == 0
    for step in range(200):
        task.get_logger().report_media("t", "s", step, stream=str(step), file_extension="txt")
    assert [Path(sample["url"]).read_text() for sample in samples(task)] == [str(step) for step in range(200)]


def test_a_limit_of_the_user(task: Task) -> None:
    """With a limit, the oldest of that title and series go, records and files; others stay untouched."""
    log = task.get_logger()
    log.report_image("t", "s", 0, image=NOISE)
    log.set_default_debug_sample_history(3)
    assert task.get_logger().get_default_debug_sample_history() == 3
    for step in range(1, 8):
        log.report_image("t", "s", step, image=NOISE)
        log.report_media("t", "other", step, stream="x", file_extension="txt", max_history=0)
    log.report_media("t", "s", 8, stream="x", file_extension="txt", max_history=2)
    assert [sample["iteration"] for sample in samples(task)] == [0, 7, 8]  # 0 was reported without a limit
    assert len(samples(task, "t", "other")) == 7
    names = {path.name for path in task._where().glob("media/*")}
    assert len(names) == 2 * (3 + 7)


def test_a_limit_with_threads(task: Task) -> None:
    """Threads that report under one limit leave exactly so many."""
    log = task.get_logger()

    def work(number: int) -> None:
        for step in range(20):
            log.report_media("t", "s", step, stream=f"{number}", file_extension="txt", max_history=5)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(samples(task)) == 5
    assert len(list(task._where().glob("media/*"))) == 10


@pytest.mark.parametrize("form", [str, lambda path: path.as_uri()])
def test_a_destination_folder(start: Callable[..., Task], tmp_path: Path, form: Callable[[Path], str]) -> None:
    """Files go to the folder that was set; the task keeps address, checksum and size, and its limit holds there."""
    target = tmp_path / "elsewhere"
    task = start(project="vision/digits", name="base")
    log = task.get_logger()
    inside = log.get_default_upload_destination()
    log.set_default_upload_destination(form(target))
    assert task.get_logger().get_default_upload_destination() == target.as_uri()
    for step in range(3):
        log.report_image("t", "s", step, image=NOISE, max_image_history=2)
    found = samples(task)
    assert [sample["iteration"] for sample in found] == [1, 2]
    for sample in found:
        path = Path(sample["url"].removeprefix("file://"))
        assert path.relative_to(target).parts[:2] == ("vision", "digits")
        with PIL.Image.open(path) as image:
            assert (numpy.asarray(image) == NOISE).all()
    assert len([path for path in target.rglob("*") if path.is_file()]) == 2
    log.set_default_upload_destination(inside)
    log.report_image("t", "s", 9, image=NOISE)
    assert Path(samples(task)[-1]["url"]).parent == task._where() / "media"


def test_a_destination_that_fails(task: Task, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that the destination does not take is kept in the task's folder, and that is said."""
    target = tmp_path / "elsewhere"
    task.get_logger().set_default_upload_destination(str(target))
    target.rmdir()
    target.write_text("now a file")
    task.get_logger().report_image("t", "s", 1, image=NOISE)
    (found,) = samples(task)
    assert Path(found["url"]).parent == task._where() / "media"
    assert (pixels_of(found) == NOISE).all()
    assert "kept in the task's folder instead" in caplog.text
    with pytest.raises(StorageError):
        task.get_logger().set_default_upload_destination(str(target))


def test_a_destination_beyond_this_machine(task: Task, tmp_path: Path) -> None:
    """What fsspec knows is uploaded in the background, and flush waits for it; what it does not know loses nothing."""
    fsspec = pytest.importorskip("fsspec")
    log = task.get_logger()
    path = tmp_path / "a.txt"
    path.write_text("hello")
    log.set_default_upload_destination("memory://bucket/place")
    log.report_media("t", "s", 1, local_path=str(path), delete_after_upload=True)
    log.flush(wait=True)
    (found,) = samples(task)
    assert found["url"].startswith("memory://bucket/place/p/")
    assert fsspec.filesystem("memory").cat_file(found["url"]) == b"hello"
    assert found["sha256"] == hashlib.sha256(b"hello").hexdigest()
    assert not path.exists()
    try:
        log.set_default_upload_destination("nowhere-at-all://x")
    except (StorageError, MissingExtraError):
        return
    log.report_media("t", "s", 2, stream="kept", file_extension="txt")
    log.flush(wait=True)
    assert Path(samples(task)[1]["url"]).read_text() == "kept"


def test_reports_after_the_end(task: Task) -> None:
    """A logger that is used after close() still keeps what it is given."""
    log = task.get_logger()
    task.close()
    log.report_image("t", "s", 1, image=NOISE)
    log.report_histogram("t", "s", [1])
    assert len(samples(task)) == 1
    assert len(task.get_reported_plots()) == 1
