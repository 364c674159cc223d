"""Replaced attributes: the caller notices nothing, and they come back."""

from __future__ import annotations

import inspect
import pickle
import types

import pytest

from localtrack.runtime.patches import Patches, observing


class Base:
    """A class with every kind of method."""

    def method(self, x, *, y=1):
        """Add."""
        return (type(self).__name__, x, y)

    @staticmethod
    def static(x):
        return x

    @classmethod
    def of_class(cls, x):
        return (cls.__name__, x)


class Child(Base):
    """One that inherits them."""


@pytest.fixture
def failures():
    """What observers failed with."""
    return []


@pytest.fixture
def patches(failures):
    """Patches that are undone after the test."""
    made = Patches(lambda place, error: failures.append((place, str(error))))
    yield made
    made.undo()


def framework():
    """Return a module with a function that fails on demand."""
    module = types.ModuleType("framework")
    module.calls = []

    def work(x, fail=False):
        module.calls.append(x)
        if fail:
            raise KeyError("the framework's own")
        return x * 2

    module.work = work
    return module


@pytest.mark.parametrize("name", ["method", "static", "of_class"])
@pytest.mark.parametrize("owner", [Base, Child])
def test_methods_of_every_kind(patches, owner, name):
    """Plain, static and class methods, own and inherited, go on working, are observed, and come back."""
    seen = []
    before = {c: dict(vars(c)) for c in (Base, Child)}
    expected = getattr(Child(), name)(5)
    patches.after(owner, name, lambda result, args, kwargs: seen.append(result))
    assert getattr(Child(), name)(5) == expected
    assert seen == [expected]
    patches.undo()
    assert {c: dict(vars(c)) for c in (Base, Child)} == before


def test_signature_and_pickle_stay(patches):
    """Tools that look at a replaced method see the original's signature, name and documentation."""
    signature = inspect.signature(Base.method)
    patches.before(Base, "method", lambda args, kwargs: None)
    assert inspect.signature(Base.method) == signature
    assert Base.method.__doc__ == "Add."
    assert pickle.loads(pickle.dumps(Base.method)) is Base.method


@pytest.mark.parametrize("kind", ["before", "after", "around"])
def test_observers_failure_stays(patches, failures, kind):
    """Whatever an observer raises, the caller gets the framework's result, and the call happens once."""
    module = framework()

    def fail(*args):
        raise RuntimeError("the observer's own")

    getattr(patches, kind)(module, "work", fail)
    assert module.work(3) == 6
    assert module.calls == [3]
    assert failures == [("work", "the observer's own")]


@pytest.mark.parametrize("kind", ["before", "after", "around"])
def test_frameworks_failure_reaches_the_caller(patches, failures, kind):
    """What the framework raises is what the caller gets, and is no failure of ours."""
    module = framework()
    observer = (lambda call, args, kwargs: call(*args, **kwargs)) if kind == "around" else (lambda *args: None)
    getattr(patches, kind)(module, "work", observer)
    with pytest.raises(KeyError, match="the framework's own"):
        module.work(3, fail=True)
    assert failures == []


def test_around_that_fails_after_the_call(patches, failures):
    """A wrapper that fails once the framework has answered loses nothing of the answer."""
    module = framework()

    def wrapper(call, args, kwargs):
        call(*args, **kwargs)
        raise RuntimeError("later")

    patches.around(module, "work", wrapper)
    assert module.work(4) == 8
    assert module.calls == [4]
    with pytest.raises(KeyError, match="the framework's own"):
        module.work(4, fail=True)


def test_observers_own_calls_are_not_observed(patches):
    """What an observer calls itself is not observed again."""
    module = framework()
    seen = []

    def observe(result, args, kwargs):
        seen.append(result)
        module.work(100)

    patches.after(module, "work", observe)
    module.work(1)
    assert seen == [2]
    with observing():
        module.work(1)
    assert seen == [2]
    module.work(2)
    assert seen == [2, 4]


def test_patched_over_by_others(patches):
    """Where another patch lies over ours, it stays, and ours only passes through."""
    module, seen = framework(), []
    patches.after(module, "work", lambda result, args, kwargs: seen.append(result))
    ours = module.work
    module.work = theirs = lambda x: ours(x) + 1
    patches.undo()
    assert module.work is theirs
    assert module.work(2) == 5
    assert seen == []


def test_what_is_not_there_is_passed_over(patches):
    """A name that this version of a framework lacks is no error."""
    module = framework()
    patches.after(module, "missing", lambda *args: None)
    assert not hasattr(module, "missing")


@pytest.mark.parametrize("first_off", [0, 1])
def test_two_bindings_on_one_function(first_off):
    """Two sets of patches on one function both observe, and come off in any order."""
    module, seen = framework(), []
    original = module.work
    sets = [Patches(lambda *args: None), Patches(lambda *args: None)]
    sets[0].after(module, "work", lambda result, args, kwargs: seen.append(0))
    sets[1].after(module, "work", lambda result, args, kwargs: seen.append(1))
    module.work(1)
    assert seen == [0, 1]
    sets[first_off].undo()
    sets[1 - first_off].undo()
    module.work(1)
    assert seen == [0, 1]
    assert first_off == 0 or module.work is original
