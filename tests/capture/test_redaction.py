"""Captured text holds no credentials and nothing that JSON in UTF-8 cannot hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localtrack.capture.redaction import storable_text, strip_embedded_userinfo, strip_userinfo


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", ""),
        ("git@github.com:org/repo.git", "git@github.com:org/repo.git"),
        ("/srv/git/repo@2.git", "/srv/git/repo@2.git"),
        ("https://github.com/@scope/repo", "https://github.com/@scope/repo"),
        ("https://token@github.com/org/repo.git", "https://github.com/org/repo.git"),
        ("https://ada:p@ss@host:8443/a.git?private_token=x", "https://host:8443/a.git"),
        ("https://ada:pa/ss@host/a.git", "https://host/a.git"),
        ("HTTPS://ada:pw@host/a.git", "HTTPS://host/a.git"),
        ("ssh://git:pw@host:22/a.git", "ssh://git@host:22/a.git"),
        ("ssh://git@host/a.git", "ssh://git@host/a.git"),
        ("git+ssh://git@host/a.git", "git+ssh://git@host/a.git"),
        ("git+https://t@host/a.git@v1#egg=a", "git+https://host/a.git@v1#egg=a"),
        ("https://[::1]:80/a@b", "https://[::1]:80/a@b"),
        ("https://u:p@[::1/a", "https://[::1/a"),
        ("file:///home/a@b/c", "file:///home/a@b/c"),
    ],
)
def test_credentials_leave_the_url(url: str, expected: str) -> None:
    """Each known form loses its secret and keeps its address."""
    assert strip_userinfo(url) == expected


@given(st.text(), st.text())
def test_no_input_breaks_the_stripping(text: str, other: str) -> None:
    """Any text at all gives a text, and stripping twice changes nothing more."""
    once = strip_userinfo(f"https://{text}@{other}")
    assert strip_userinfo(text) == strip_userinfo(text)
    assert isinstance(strip_embedded_userinfo(once), str)


@given(st.text(alphabet=st.characters(codec=None, exclude_categories=())))
def test_any_text_becomes_storable(text: str) -> None:
    """Lone surrogates of both kinds go; text that UTF-8 can hold stays as it is."""
    stored = storable_text(text)
    stored.encode("utf-8")
    if not any("\ud800" <= char <= "\udfff" for char in text):
        assert stored == text
