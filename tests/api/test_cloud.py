"""Keys of object storage: handed to the client, kept in the process, written nowhere."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import fsspec.implementations.memory
import pytest
from fsspec.registry import _registry

from localtrack import OutputModel, Task
from localtrack.services import remote

SECRET = "s3cr3t-of-this-test"


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """Put file systems in memory in the place of s3fs, gcsfs and adlfs; return what they were made with."""
    made: list[tuple[str, dict[str, Any]]] = []

    def stand_in(scheme: str) -> type:
        class Client(fsspec.implementations.memory.MemoryFileSystem):  # type: ignore[misc]
            protocol = scheme
            root_marker = ""
            cachable = False

            def __init__(self, **options: Any) -> None:
                made.append((scheme, options))
                super().__init__()

            @classmethod
            def _strip_protocol(cls, path: str) -> str:
                return "/" + path.partition("://")[2].strip("/") if "://" in path else path

        return Client

    for scheme in ("s3", "gs", "az"):
        fsspec.register_implementation(scheme, stand_in(scheme), clobber=True)
        monkeypatch.setitem(sys.modules, {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs"}[scheme], types.ModuleType("x"))
    yield made
    for scheme in ("s3", "gs", "az"):
        _registry.pop(scheme, None)
    remote.forget_configuration()


def test_keys_reach_the_client_and_nothing_else(
    task: Task, root: Path, tmp_path: Path, clients: list[tuple[str, dict[str, Any]]]
) -> None:
    """Each set-up names a destination and hands its keys on; no file of the store holds one."""
    source = tmp_path / "net.pt"
    source.write_bytes(b"weights")
    task.setup_aws_upload(
        "bucket", subdir="deep", host="minio:9000", key="k", secret=SECRET, secure=False, verify=False
    )
    assert task.output_uri == "s3://minio:9000/bucket/deep"
    url = OutputModel(task, name="a").update_weights(str(source), async_enable=False)
    assert url == f"s3://minio:9000/bucket/deep/p/n.{task.id}/models/net.pt"
    client = {"endpoint_url": "http://minio:9000", "verify": False}
    assert clients[-1] == ("s3", {"key": "k", "secret": SECRET, "client_kwargs": client})
    task.setup_upload("other", access_key="k2", secret_key=SECRET, region="eu")
    OutputModel(task, name="b").update_weights(str(source), async_enable=False)
    assert clients[-1] == ("s3", {"key": "k2", "secret": SECRET, "client_kwargs": {"region_name": "eu"}})
    task.setup_gcp_upload("bucket", subdir="x", project="proj", credentials_json="/key.json")
    OutputModel(task, name="c").update_weights(str(source), async_enable=False)
    assert clients[-1] == ("gs", {"project": "proj", "token": "/key.json"})
    task.setup_azure_upload("account", account_key=SECRET, container_name="box")
    assert task.output_uri == "azure://account.blob.core.windows.net/box"
    OutputModel(task, name="d").update_weights(str(source), async_enable=False)
    assert clients[-1] == ("az", {"account_name": "account", "account_key": SECRET})
    with pytest.raises(ValueError, match="use_default_credential"):
        task.setup_azure_upload("account")
    task.close()
    holding = [path for path in root.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert [path.relative_to(root).as_posix() for path in holding if "code/" not in path.as_posix()] == []


def test_a_missing_client_is_named(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the client of a place, setting it up says what to install."""
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ImportError, match="s3fs"):
        task.setup_aws_upload("bucket")
    remote.forget_configuration()
