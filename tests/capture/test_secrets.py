"""No secret gets into what is recorded, and what is none stays as it was."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from localtrack.capture.secrets import (
    MASK,
    hidden_argv,
    is_masked,
    masked_argument,
    masked_argv,
    masked_diff,
    masked_script,
    masked_settings,
    masked_text,
    without_masked,
)
from tests.capture.planted import EMBEDDED, PLANTED, PRIVATE_KEY

HARMLESS = (
    'tokenizer = "bert-base-uncased"', 'pad_token = "<|endoftext|>"', "max_new_tokens=12345678", 'api_key = "EMPTY"',
    'api_key = os.environ["OPENAI_API_KEY"]', "password = getpass.getpass()", 'private_key = "~/.ssh/id_ed25519"',
    'url = "https://user:{password}@host/x"', 'help="the secret of the model"', "sk-learn", 'secret_key_name = "abcdefghij"',
    "Basic resnet50-cifar10-baseline", "sk-learn-random-forest-baseline", "# Token representations/embeddings",
    "https://host:8080/path@v1", "s3://bucket/a/b.ckpt", 'key = "validation/loss/epoch"', "tokens: 1234567890",
    "a = b'\\xff'", "commit 8b494ec5d0a3d9d5c8a0a1a1f0a5b1f4b1c2d3e4", 'secret = ""', "def api_key(self) -> str:",
    'parser.add_argument("--api-key", default=None)', "ssh://git@github.com/org/repo.git", "x = '********'",
)  # fmt: skip


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays(text: str) -> None:
    """Code and settings that only speak of secrets are left alone, byte for byte."""
    assert masked_text(text) == text


@pytest.mark.parametrize("kind", PLANTED)
def test_each_kind_is_masked_wherever_it_stands(kind: str) -> None:
    """In code, in a settings file, on a command line, as an argument's value: the secret is gone, the rest is there."""
    secret, name = PLANTED[kind]
    for text in (f'{name} = "{secret}"  # for {kind}', f"export {name.upper()}={secret}", f"{{'{name}': '{secret}'}}"):
        masked = masked_text(text)
        assert secret not in masked, masked
        assert name.lower() in masked.lower()
    assert secret not in " ".join(masked_argv(["--epochs", "3", f"--{name}", secret]))
    assert secret not in " ".join(masked_argv([f"--{name}={secret}", "rest"]))
    assert secret not in str(masked_argument(f"Args/{name}", [secret]))
    assert secret not in str(masked_argument("Args/config", {name: secret}))


@pytest.mark.parametrize("kind", EMBEDDED)
def test_a_secret_inside_of_a_text_is_masked(kind: str) -> None:
    """Addresses, headers and connection strings lose the secret and keep the rest."""
    text, secret = EMBEDDED[kind]
    assert secret not in masked_text(text)
    assert secret not in str(masked_argument("value", text))
    assert MASK in masked_text(text)
    assert masked_text(text).split(MASK)[0] == text.split(secret)[0]


def test_words_among_arguments_are_given_to_the_name_before() -> None:
    """A list of names and values, pairs, and words with an equals sign; an agent leaves out what it does not know."""
    assert masked_argument("Args/opts", ["lr", "0.1", "api_key", "abcd1234abcd"]) == ["lr", "0.1", "api_key", MASK]
    assert masked_argument("Args/kv", [("password", "CANARYtr0ub4dor")]) == [("password", MASK)]
    assert masked_argument("Args/columns", ["password", "username", "access_token"]) == [
        "password",
        "username",
        "access_token",
    ]
    argv = [
        "--opts",
        "lr",
        "0.1",
        "api_key",
        "abcd1234abcd",
        "--kv",
        "password=tr0ub4dor",
        "--token",
        "a%2Fb%3Dc5d6",
        "x",
    ]
    masked = masked_argv(argv)
    assert masked == ["--opts", "lr", "0.1", "api_key", MASK, "--kv", f"password={MASK}", "--token", MASK, "x"]
    assert without_masked(masked) == ("--opts", "lr", "0.1", "x")
    assert masked_argv(["--name", "Basic resnet50-cifar10-baseline"]) == ["--name", "Basic resnet50-cifar10-baseline"]


def test_arguments_keep_their_types() -> None:
    """Only texts with a secret change."""
    for value in (None, 3, 0.5, True, "plain", ["a", 1], {"a": {"b": None}}, ("x",)):
        assert masked_argument("Args/password_length", value) == value
    assert masked_argument("Args/password", 12345678) == 12345678
    for empty in ([], (), {}, [[]], [()]):
        assert masked_argument("Args/password", empty) == empty
    assert masked_argument("opt.password", "hunter2-hunter2") == MASK
    assert is_masked(masked_argument("a", {"b": ["https://ada:hunter2@host/x"]}))


def test_settings_lose_their_secrets_by_their_keys() -> None:
    """As native values and as YAML, at any depth; the text still reads as before, and so do interpolations."""
    nested = {
        "lr": 0.1,
        "wandb": {"api_key": "CANARYabcd1234efgh", "mode": "offline"},
        "all": [{"token": "CANARYtok12345"}],
    }
    assert masked_settings(nested) == {
        "lr": 0.1, "wandb": {"api_key": MASK, "mode": "offline"}, "all": [{"token": MASK}]
    }  # fmt: skip
    text = (
        "lr: 0.1\nwandb:\n  api_key: CANARYabcd1234efgh  # mine\n  mode: offline\ndb: {password: CANARYpass12345, a: 1}\n"
        'url: "postgres://joe:CANARYurlpw@h/db"\ntoken: CANARYtok12345678\nfrom: {api_key: "${oc.env:WANDB_API_KEY}"}\n'
    )
    masked = masked_settings(text)
    assert "CANARY" not in masked
    assert yaml.safe_load(masked) == {
        "lr": 0.1, "wandb": {"api_key": MASK, "mode": "offline"}, "db": {"password": MASK, "a": 1},
        "url": f"postgres://joe:{MASK}@h/db", "token": MASK, "from": {"api_key": "${oc.env:WANDB_API_KEY}"},
    }  # fmt: skip
    assert masked_settings(masked) == masked


def test_a_masked_command_line_runs_without_the_option() -> None:
    """An agent leaves out what it does not know, and nothing else."""
    argv = masked_argv(["train", "--api-key", "abcdef123456", "--lr", "0.1", "--token=abcdef123456", "last"])
    assert argv == ["train", "--api-key", MASK, "--lr", "0.1", f"--token={MASK}", "last"]
    assert without_masked(argv) == ("train", "--lr", "0.1", "last")


def test_a_masked_patch_applies(tmp_path: Path) -> None:
    """Secrets in added lines go; the patch, with a binary file and a key of many lines, still applies to the commit."""

    def git(*words: str, stdin: bytes = b"") -> bytes:
        return subprocess.run(["git", *words], cwd=tmp_path, input=stdin, capture_output=True, check=True).stdout

    git("init", "-q")
    (tmp_path / "a.py").write_text("one = 1\ntwo = 2\n")
    (tmp_path / "blob").write_bytes(bytes(range(256)))
    git("add", ".")
    git("commit", "-qm", "first")
    secret = PLANTED["openai"][0]
    (tmp_path / "a.py").write_text(f'one = 1\nkey = "{secret}"\ntwo = 2\n+++ x\n{PRIVATE_KEY}\n')
    (tmp_path / "blob").write_bytes(bytes(reversed(range(256))))
    diff = git("diff", "HEAD", "--binary")
    masked = masked_diff(diff)
    assert secret.encode() not in masked
    assert PRIVATE_KEY.splitlines()[2].encode() not in masked
    git("checkout", "-q", ".")
    git("apply", "--binary", stdin=masked)
    assert (tmp_path / "blob").read_bytes() == bytes(reversed(range(256)))
    text = (tmp_path / "a.py").read_text()
    assert text.startswith(f'one = 1\nkey = "{MASK}"\ntwo = 2\n+++ x\n-----BEGIN')
    assert len(text.splitlines()) == 4 + len(PRIVATE_KEY.splitlines())


@given(st.binary(max_size=300))
def test_any_bytes_are_taken(data: bytes) -> None:
    """Whatever a script or a patch is made of, the same number of lines comes back, and masking again changes nothing."""
    for mask in (masked_script, masked_diff):
        once = mask(data)
        assert once.count(b"\n") == data.count(b"\n")
        assert mask(once) == once


def test_what_hidden_options_are_given_is_masked() -> None:
    """Whatever it looks like, and however it is written; an agent leaves those options out."""
    argv = hidden_argv(["run", "--pin", "1", "--pin=2", "-p", "3", "-p4", "-v", "--pint", "5"], {"--pin", "-p"})
    assert argv == ["run", "--pin", MASK, f"--pin={MASK}", "-p", MASK, f"-p{MASK}", "-v", "--pint", "5"]
    assert without_masked(argv) == ("run", "-v", "--pint", "5")
