"""Masked source is the same program but for its secrets, whole and as a patch."""

from __future__ import annotations

import ast
import subprocess
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localtrack.capture.python_lexer import Kind, lex
from localtrack.capture.secrets import MASK, masked_diff, masked_script
from tests.capture.planted import EMBEDDED, HEX, PLANTED

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*(ROOT / "localtrack").rglob("*.py"), *(ROOT / "tests").rglob("*.py")])
FORTY = HEX[3:43]

NO_SECRETS = (
    "hub_token = args.hub_token", "self.access_token = cfg.access_token", "private_key = private_key_bytes",
    "class A:\n    password: SecretStr", "api_key: Optional[str] = None", "def f(password: 'SecretString', *, api_key=key_1234567): ...",
    'p.add_argument("--access_token", "--access-token")', '@click.option("--password", "password", prompt=True)\ndef f(): ...',
    'for name in ("api_key", "project_name"): pass', 'os.getenv("HF_TOKEN", "undefined")', 'x = {"api_key": "OPENAI_API_KEY"}',
    'getattr(cfg, "access_token", "not_provided")', 'assert key == "api_key", "must_be_given"', 'token = "[CLS]"',
    'mapping = {"password": "passwd_column"}', 'if args.secret: "abcdefghijk"', 'api_key = "your-token-here"', 'password = ""',
    'access_token = load("tokens/first2.txt")', 'print("Basic resnet50-cifar10-baseline")', 'm = "sk-learn-random-forest-baseline"',
    'url = f"https://{user}:{password}@{host}/"', 'password = f"{prefix}_{name}"', 'key = "layer1.0.conv2d.weight"',
    'pad_token = "<|endoftext|>"', 'MARK = "-----BEGIN RSA PRIVATE KEY-----"\nx = MARK_OF_A_KEY_THAT_IS_LONG', 'pwd = "/tmp"',
    "SG.some_attribute_of_it.and_another_attribute", 'd["password"]["of_the_first_1"]', 'password = input("Password of user1: ")',
)  # fmt: skip
SECRETS = (
    f'wandb.login(key="{FORTY}")', f'TOKEN = "{FORTY}"', f'os.environ["KAGGLE_KEY"] = "{FORTY[:32]}"', f'x = {{"key": "{FORTY}"}}',
    f'p.add_argument("--api-key", type=str, default="{FORTY}")', f'api_key: str = "{FORTY}"', f'api_key: Optional[str] = "{FORTY}"',
    f'DB_PASS = "{FORTY}"', f"api_key = '''{FORTY}'''", f'api_key = ("{FORTY}")', f'self.api_key = f"{FORTY}"', f'a(pwd="{FORTY}")',
    f'url = "https://x.example.net/c?sv=2&sig=ab%2Fc{FORTY}%3D&x=1"', f'os.environ.setdefault("MY_SECRET", "{FORTY}")',
    f'api_key = os.getenv("A_KEY") or "{FORTY}"', f'token = SecretStr("{FORTY}")', f'password = b"{FORTY}\\n"', f'# api_key = "{FORTY}"',
    f'c("host=db password={FORTY} x=1")', f'password = rf"""\n{FORTY}\n"""', f'f"{{a[1]:>{{w}}}} api_key={FORTY} {{b!r}}"',
    f'x = f"{{g("hf_{FORTY}")}}"', f'run(["--api-key", "{FORTY}"])', f'DATA = "a\\nhf_{FORTY}"', f"%env WANDB_API_KEY={FORTY}",
    f'class A:\n    password: str = Field(default="{FORTY}")', f'api_keys = ["{FORTY}", "b"]', f'smtp.login("a@b.c", "{FORTY}")',
)  # fmt: skip


def without_texts(source: bytes) -> str:
    """Return the program of a source without what its literals hold."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)):
            node.value = ""
    return ast.dump(tree)


@pytest.mark.parametrize("source", NO_SECRETS)
def test_names_and_words_stay(source: str) -> None:
    """Names, annotations, options, names of fields: in source none is a secret, whatever it is given to; nor in a patch."""
    assert masked_script(source.encode()).decode() == source
    assert masked_diff(patch("a.py", source)) == patch("a.py", source)


@pytest.mark.parametrize("source", SECRETS)
def test_secrets_in_source_are_masked(source: str) -> None:
    """Wherever a literal stands that is given to a telling name, and in the same source as a patch."""
    masked = masked_script(source.encode()).decode()
    assert masked == source.replace(FORTY, MASK).replace(FORTY[:32], MASK).replace(f"hf_{MASK}", MASK).replace(
        f"ab%2Fc{MASK}%3D", MASK
    )
    if not source.startswith("%"):
        assert masked_diff(patch("a.py", source)) == patch("a.py", masked)


@pytest.mark.parametrize("word", ["hunter2", "correct-horse", "tr0ub4dor", "swordfish"])
def test_words_that_people_choose_are_masked(word: str) -> None:
    """A password may be any word."""
    assert masked_script(f'password = "{word}"'.encode()) == f'password = "{MASK}"'.encode()


def patch(name: str, text: str) -> bytes:
    """Return a patch that adds lines to a file, as git writes it."""
    lines = text.split("\n")
    added = "".join(f"+{line}\n" for line in lines)
    return f"diff --git a/{name} b/{name}\n--- a/{name}\n+++ b/{name}\n@@ -7,0 +8,{len(lines)} @@\n{added}".encode()


def test_all_sources_here_stay_the_same_programs() -> None:
    """Each file of this repository is the same program when it is masked, and so it is with each name in it made telling."""
    for path in SOURCES:
        source = path.read_bytes()
        for text in (source, source.replace(b"name", b"password").replace(b"path", b"api_key")):
            masked = masked_script(text)
            if masked != text:
                assert without_texts(masked) == without_texts(text), path
                assert masked_script(masked) == masked, path


def test_settings_of_other_languages(tmp_path: Path) -> None:
    """In YAML a bare word is a value, and the masked one can be read; in JavaScript it is a name."""
    assert masked_diff(patch("a.yaml", "password: swordfish")) == patch("a.yaml", f'password: "{MASK}"')
    assert masked_diff(patch(".env", "export DB_PASSWORD=swordfish")) == patch(".env", f"export DB_PASSWORD={MASK}")
    assert masked_diff(patch("a.ts", "password: Swordfish")) == patch("a.ts", "password: Swordfish")
    assert masked_diff(patch("a.ts", f"apiKey: '{FORTY}'")) == patch("a.ts", f"apiKey: '{MASK}'")
    cell = '    "api_key = \\"' + FORTY + '\\"\\n",\n    "hub_token = args.hub_token_123\\n"'
    assert masked_diff(patch("a.ipynb", cell)) == patch("a.ipynb", cell.replace(FORTY, MASK))


def test_a_hunk_that_begins_within_a_text(tmp_path: Path) -> None:
    """The source behind the end of a docstring whose beginning is not in the patch is source."""
    source = f'The access of it, that it\'s given, is:\n"""\nhub_token = hub_token_1234\napi_key = "{FORTY}"\n"""Doc"""'
    assert masked_diff(patch("a.py", source)) == patch("a.py", source.replace(FORTY, MASK))


def test_masked_patches_of_sources_apply(tmp_path: Path) -> None:
    """Patches with secrets among many changes apply to the commit, and what comes out is the masked source."""

    def git(*words: str, stdin: bytes = b"") -> bytes:
        return subprocess.run(["git", *words], cwd=tmp_path, input=stdin, capture_output=True, check=True).stdout

    git("init", "-q")
    files = {f"{number}.py": path.read_text() for number, path in enumerate(SOURCES[::12])}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "settings.yaml").write_text("a: 1\r\npassword: x\r\n")
    git("add", ".")
    git("commit", "-qm", "first")
    secret = f'api_key = "{FORTY}"\n\n\n'
    for name, text in files.items():
        changed = text.replace("\n\n\ndef ", f"\n\n\n{secret}def ").replace("name", "password", 9).rstrip("\n")
        (tmp_path / name).write_text(changed)
    (tmp_path / "settings.yaml").write_text("a: 1\r\npassword: swordfish\r\n# \xe9\r\n")
    (tmp_path / "new.py").write_bytes(f"# caf\xe9\npassword = 'tr0ub4d\xe9r'\n{secret}".encode("latin-1"))
    git("add", "-N", ".")
    diff = git("diff", "HEAD", "--binary")
    masked = masked_diff(diff)
    assert FORTY.encode() not in masked
    assert b"swordfish" not in masked
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    git("reset", "-q", "--hard")
    (tmp_path / "new.py").unlink(missing_ok=True)
    git("apply", "--binary", stdin=masked)
    for name, text in after.items():
        if name.endswith(".py") and name != "new.py":
            assert without_texts((tmp_path / name).read_bytes()) == without_texts(text), name


@pytest.mark.parametrize("kind", PLANTED)
def test_each_kind_is_masked_in_source(kind: str) -> None:
    """Given to its name, as a keyword, in a dict and in a comment: the secret is gone, and the source compiles."""
    secret, name = PLANTED[kind]
    for source in (
        f'{name} = "{secret}"',
        f"f(1, {name}='{secret}')",
        f'x = {{"{name}": """{secret}"""}}',
        f'# {name} = "{secret}"',
    ):
        masked = masked_script(source.encode())
        assert secret.encode() not in masked
        ast.parse(masked)


@pytest.mark.parametrize("kind", EMBEDDED)
def test_embedded_secrets_are_masked_in_source(kind: str) -> None:
    """Also in a file that is no Python though its name says so, and with line ends that are written as escapes."""
    text, secret = EMBEDDED[kind]
    assert secret.encode() not in masked_script(text.encode())
    assert secret.encode() not in masked_script(f"text = {text!r}".encode())
    assert secret.encode() not in masked_diff(patch("a.py", text))
    ast.parse(masked_script(f"text = {text!r}".encode()))


def test_f_strings_are_read_in_parts() -> None:
    """Fields with literals, formats and further f-strings within, as every Python reads them; broken ones end."""
    source = 'f\'{a["k"]:{w}>3} b {{c}} {f"{d}e"!r:>4}\' + x'
    tokens = lex(source)
    whole = tokens[0]
    assert [source[start:stop] for start, stop in whole.parts] == ["", " b {{c}} ", ""]
    assert [source[token.start : token.stop] for token in tokens if token.kind is Kind.NESTED] == ['"k"', 'f"{d}e"']
    assert source[tokens[-1].start :] == "x"
    assert lex("f'{a\nx = 'b'")[-1].kind is Kind.STRING
    assert len(lex("f'{f\"{" * 20_000)) > 0


@given(st.text(alphabet="ab_ =:'\"{}()[],\\\nf#%@/1", max_size=80))
def test_any_source_keeps_its_lines_and_meaning(text: str) -> None:
    """Whatever is given: the lines stay, masking again changes nothing, and what was Python is the same program."""
    source = text.replace("ab", "api_key").replace("ba", "password").replace("a1", FORTY).encode()
    masked = masked_script(source)
    assert masked.count(b"\n") == source.count(b"\n")
    assert masked_script(masked) == masked
    try:
        before = without_texts(source)
    except (SyntaxError, ValueError):
        return
    assert without_texts(masked) == before
