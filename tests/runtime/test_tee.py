"""The copy of the console: which writes are in it, and that it goes without a trace."""

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import logging
import sys
import threading

import pytest

from localtrack.runtime.tee import ConsoleTee


@pytest.fixture
def logger():
    """A logger of its own; its handlers go after the test."""
    logger = logging.Logger("tee", logging.INFO)
    yield logger
    for handler in list(logger.handlers):
        logger.removeHandler(handler)


def own_streams(monkeypatch):
    """Put streams in place, in the test itself: pytest puts its own there between a fixture and the test."""
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    return out, err


@pytest.mark.parametrize(("stdout", "stderr", "log"), list(itertools.product([True, False], repeat=3)))
def test_each_kind_of_write_is_taken_or_left(logger, monkeypatch, stdout, stderr, log):
    """In every combination: prints, and records of handlers made before and after, are in the copy exactly when asked for."""
    out, err = own_streams(monkeypatch)
    plain = logging.Handler.handle
    seen: list[tuple[str, str]] = []
    before = logging.StreamHandler(sys.stderr)
    logger.addHandler(before)
    tee = ConsoleTee(
        lambda code, texts: seen.extend((code, line) for line in "\n".join(texts).split("\n")),
        stdout=stdout,
        stderr=stderr,
        log=log,
    )
    tee.install()
    print("printed")
    print("complained", file=sys.stderr)
    logger.info("handler from before")
    logger.removeHandler(before)
    after = logging.StreamHandler()
    logger.addHandler(after)
    logger.info("handler from after")
    logger.addHandler(logging.StreamHandler(sys.stdout))
    logger.removeHandler(after)
    logger.info("handler on stdout")
    tee.remove()
    logger.info("after the end")
    expected = [("o", "printed")] * stdout + [("e", "complained")] * stderr
    if log:
        expected += [("e", "handler from before"), ("e", "handler from after"), ("o", "handler on stdout")]
    assert seen == expected
    assert err.getvalue() == "complained\nhandler from before\nhandler from after\n"
    assert out.getvalue() == "printed\nhandler on stdout\nafter the end\n"
    assert (sys.stdout, sys.stderr) == (out, err)
    assert logging.Handler.handle is plain


def test_a_print_beside_a_handler_in_another_thread(logger, monkeypatch):
    """While one thread is within a handler, what another prints is no record of logging."""
    _, err = own_streams(monkeypatch)
    seen: list[str] = []
    tee = ConsoleTee(lambda code, texts: seen.extend("\n".join(texts).split("\n")), log=False)
    tee.install()
    inside, go_on = threading.Event(), threading.Event()

    class Slow(logging.StreamHandler):
        def emit(self, record):
            inside.set()
            go_on.wait(10)
            super().emit(record)

    logger.addHandler(Slow())
    thread = threading.Thread(target=logger.info, args=("logged",))
    thread.start()
    assert inside.wait(10)
    print("printed meanwhile", file=sys.stderr)
    go_on.set()
    thread.join()
    tee.remove()
    assert seen == ["printed meanwhile"]
    assert err.getvalue() == "printed meanwhile\nlogged\n"


def test_another_patch_on_top_stays(logger, monkeypatch):
    """Where somebody patched logging on top of the mark, that patch stays and works."""
    _, err = own_streams(monkeypatch)
    monkeypatch.setattr(logging.Handler, "handle", logging.Handler.handle)  # so that it comes back
    tee = ConsoleTee(lambda code, texts: None, log=False)
    tee.install()
    ours = logging.Handler.handle
    seen = []

    def theirs(handler, record):
        seen.append(record.getMessage())
        return ours(handler, record)

    monkeypatch.setattr(logging.Handler, "handle", theirs)
    tee.remove()
    assert logging.Handler.handle is theirs
    logger.addHandler(logging.StreamHandler())
    logger.info("still logged")
    assert seen == ["still logged"]
    assert err.getvalue() == "still logged\n"


def test_a_handler_that_outlives_the_run_feeds_nothing(logger, monkeypatch):
    """A handler made during the run holds the tee; after the run it prints as ever and nothing is collected."""
    _, err = own_streams(monkeypatch)
    seen: list[str] = []
    tee = ConsoleTee(lambda code, texts: seen.extend("\n".join(texts).split("\n")))
    tee.install()
    logger.addHandler(logging.StreamHandler())
    logger.info("during")
    tee.remove()
    logger.info("after")
    assert seen == ["during"]
    assert err.getvalue() == "during\nafter\n"


def real_streams(monkeypatch, *, in_place=True):
    """Put streams of the interpreter's own kind in place, as the process's own; ``in_place`` also as those of now."""
    streams = []
    for name in ("stdout", "stderr"):
        stream = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
        streams.append(stream)
        monkeypatch.setattr(sys, f"__{name}__", stream)
        if in_place:
            monkeypatch.setattr(sys, name, stream)
    return streams


def text_of(stream):
    """Return what was written to a stream."""
    stream.flush()
    return stream.buffer.getvalue().decode()


def recording():
    """Return a tee and the list that it fills."""
    seen: list[tuple[str, str]] = []
    tee = ConsoleTee(lambda code, texts: seen.extend((code, line) for line in "\n".join(texts).split("\n")))
    return tee, seen


def test_a_stream_that_somebody_holds_from_before_is_recorded(monkeypatch):
    """By name, as a default, in a handler of its own kind, or put back as sys.__stdout__: each line once, in order."""
    out, err = real_streams(monkeypatch)
    held, complaints = sys.stdout, sys.stderr
    tee, seen = recording()
    tee.install()
    print("printed")
    print("held", file=held)
    held.writelines(["both ", "parts\n"])
    complaints.write("complained\n")
    ours, sys.stdout = sys.stdout, sys.__stdout__
    print("put back")
    sys.stdout = ours
    print("printed again")
    tee.remove()
    print("after", file=held)
    expected = ["printed", "held", "both parts", "put back", "printed again"]
    assert [line for code, line in seen if code == "o"] == expected
    assert [line for code, line in seen if code == "e"] == ["complained"]
    assert text_of(out).splitlines() == [*expected, "after"]
    assert text_of(err) == "complained\n"
    assert "write" not in vars(out)
    assert "write" not in vars(err)
    assert (sys.stdout, sys.stderr) == (out, err)


def test_another_write_on_top_of_ours_stays(monkeypatch):
    """Where somebody gave the stream a ``write`` of his own before or since, it is called, and is there after the end."""
    out, _ = real_streams(monkeypatch)
    calls: list[str] = []

    def before(text):
        calls.append(f"before {text}")
        return io.TextIOWrapper.write(out, text)

    out.write = before
    tee, seen = recording()
    tee.install()
    print("first", end="\n")
    ours = out.write

    def since(text):
        calls.append(f"since {text}")
        return ours(text)

    tee.remove()
    assert out.write is before
    tee, _ = recording()
    tee.install()
    ours = out.write
    out.write = since
    tee.remove()
    assert out.write is since
    out.write("last\n")
    assert text_of(out) == "first\nlast\n"
    assert calls == ["before first", "before \n", "since last\n", "before last\n"]
    assert seen == [("o", "first")]
    del out.write


def test_a_redirect_at_the_start_does_not_take_the_rest_of_the_run(monkeypatch):
    """What is printed into a text of the script's own is recorded, and what is printed after that as well."""
    out, err = real_streams(monkeypatch)
    tee, seen = recording()
    buffer = io.StringIO()
    with contextlib.redirect_stdout(buffer), contextlib.redirect_stderr(buffer):
        tee.install()
        print("within")
    print("after")
    print("complained", file=sys.stderr)
    tee.remove()
    assert seen == [("o", "within"), ("o", "after"), ("e", "complained")]
    assert (buffer.getvalue(), text_of(out), text_of(err)) == ("within\n", "after\n", "complained\n")


@pytest.mark.parametrize("names", [("stdout",), ("stderr",), ("stdout", "stderr")])
def test_a_stream_of_the_scripts_own_that_writes_on_is_one_line(monkeypatch, names):
    """A class that prints to the terminal and into a file stands there: what passes through both is recorded once."""
    out, err = real_streams(monkeypatch)

    class Both:
        def __init__(self, terminal):
            self.terminal = terminal

        def write(self, text):
            self.terminal.write(text)

        def flush(self):
            self.terminal.flush()

    both = Both(sys.stdout)
    for name in names:
        monkeypatch.setattr(sys, name, both)
    tee, seen = recording()
    tee.install()
    print("one")
    print("two", file=sys.stderr)
    print("three", file=both.terminal)
    tee.remove()
    assert seen == [("o", "one"), ("e", "two"), ("o", "three")]
    assert text_of(out).splitlines() == ["one"] + ["two"] * ("stderr" in names) + ["three"]
    assert sys.stdout is (both if "stdout" in names else out)
    assert "write" not in vars(out)
    assert "write" not in vars(err)


def test_one_stream_for_both_is_recorded_once(monkeypatch):
    """Where stderr is stdout, each print has the name by which it went."""
    out, _ = real_streams(monkeypatch)
    monkeypatch.setattr(sys, "stderr", out)
    tee, seen = recording()
    tee.install()
    print("one")
    print("two", file=sys.stderr)
    out.write("three\n")
    tee.remove()
    assert seen == [("o", "one"), ("e", "two"), ("o", "three")]
    assert text_of(out) == "one\ntwo\nthree\n"


def test_the_stream_looks_like_the_one_that_stood_there(monkeypatch):
    """Scripts ask for the class before they change the encoding, or copy what they find."""
    out, _ = real_streams(monkeypatch)
    tee, _ = recording()
    tee.install()
    assert isinstance(sys.stdout, io.TextIOWrapper)
    assert isinstance(sys.stdout, io.TextIOBase)
    assert repr(sys.stdout) == repr(out)
    sys.stdout.reconfigure(line_buffering=True)
    assert out.line_buffering
    with pytest.raises(TypeError):
        copy.deepcopy(sys.stdout)
    tee.remove()


@pytest.mark.parametrize("plain", [True, False])
def test_the_stream_has_all_attributes_of_the_one_that_stood_there(monkeypatch, plain):
    """Also those that a script gave it; a script may give the tee others, and what nobody has is missing."""
    original = (io.TextIOWrapper if plain else type("Own", (io.TextIOWrapper,), {}))(io.BytesIO(), "utf-8")
    original.mode, original.given = "w", ["by the script"]
    monkeypatch.setattr(sys, "stdout", original)
    tee = ConsoleTee(lambda code, texts: None, stderr=False)
    tee.install()
    for name in dir(original):
        if not (name.startswith("__") and name.endswith("__")) and name not in (
            "write",
            "writelines",
            "flush",
            "detach",
        ):
            assert getattr(sys.stdout, name, "absent") == getattr(original, name, "absent"), name
    assert not hasattr(sys.stdout, "shell")
    assert not sys.stdout.isatty()
    sys.stdout.isatty = lambda: True
    assert (sys.stdout.isatty(), original.isatty()) == (True, False)
    sys.stdout.reconfigure(line_buffering=True)
    assert original.line_buffering is sys.stdout.line_buffering is True
    print("x", file=sys.stdout)
    assert sys.stdout.detach().getvalue() == b"x\n"
    tee.remove()
    assert sys.stdout is original


def test_a_deleted_stream_is_no_error_at_the_end(monkeypatch):
    """A script may take ``sys.stdout`` away."""
    real_streams(monkeypatch)
    tee, _ = recording()
    tee.install()
    del sys.stdout
    tee.remove()
    sys.stdout = sys.__stdout__
