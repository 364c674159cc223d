"""The copy of the console: which writes are in it, and that it goes without a trace."""

from __future__ import annotations

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
