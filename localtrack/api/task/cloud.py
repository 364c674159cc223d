"""Section: object storage as the destination of a task's models and uploads.

Keys are kept in this process alone and written nowhere: not into the task, not into the store.

Source: ClearML's Task.setup_upload, setup_aws_upload, setup_gcp_upload, setup_azure_upload.
"""

from __future__ import annotations

from localtrack.api.task.models import ModelsSection
from localtrack.errors import InvalidValueError


class CloudSection(ModelsSection):
    """Destinations with keys."""

    def _use(self, url: str, **options: object) -> None:
        from localtrack.services import remote

        remote.configure(url, **options)
        self.output_uri = url

    def setup_aws_upload(
        self,
        bucket: str,
        subdir: str | None = None,
        host: str | None = None,
        key: str | None = None,
        secret: str | None = None,
        token: str | None = None,
        region: str | None = None,
        multipart: bool = True,
        secure: bool = True,
        verify: bool = True,
        profile: str | None = None,
    ) -> None:
        """Send models and uploads to a bucket of S3 or of a server that speaks like it.

        Args:
            bucket: the bucket.
            subdir: a folder in it.
            host: ``host:port`` of another server than Amazon's.
            key: access key; what the environment and ``~/.aws`` say without one.
            secret: its secret.
            token: session token.
            region: the region.
            multipart: passed over: the client decides.
            secure: whether the server speaks HTTPS.
            verify: whether its certificate is checked.
            profile: profile of ``~/.aws``.

        Raises:
            MissingExtraError: s3fs is not installed.

        Source: ClearML's Task.setup_aws_upload.
        """
        place = "/".join(part.strip("/") for part in (host, bucket, subdir) if part)
        client: dict[str, object] = {"region_name": region} if region else {}
        if host:
            client["endpoint_url"] = f"{'https' if secure else 'http'}://{host}"
        if not verify:
            client["verify"] = False
        self._use(f"s3://{place}", key=key, secret=secret, token=token, profile=profile, client_kwargs=client or None)

    def setup_gcp_upload(
        self,
        bucket: str,
        subdir: str = "",
        project: str | None = None,
        credentials_json: str | None = None,
        pool_connections: int | None = None,
        pool_maxsize: int | None = None,
    ) -> None:
        """Send models and uploads to a bucket of Google Cloud Storage.

        Args:
            bucket: the bucket.
            subdir: a folder in it.
            project: the Google project.
            credentials_json: path of a service account's file; the environment's credentials without one.
            pool_connections: passed over: the client decides.
            pool_maxsize: passed over.

        Raises:
            MissingExtraError: gcsfs is not installed.

        Source: ClearML's Task.setup_gcp_upload.
        """
        place = "/".join(part.strip("/") for part in (bucket.removeprefix("gs://"), subdir) if part)
        self._use(f"gs://{place}", project=project, token=credentials_json)

    def setup_azure_upload(
        self,
        account_name: str,
        account_key: str | None = None,
        container_name: str | None = None,
        use_default_credential: bool = False,
    ) -> None:
        """Send models and uploads to a container of Azure Blob Storage.

        Args:
            account_name: the account.
            account_key: its key.
            container_name: the container.
            use_default_credential: instead of a key, take Azure's default credentials.

        Raises:
            InvalidValueError: neither key nor default credentials.
            MissingExtraError: adlfs is not installed.

        Source: ClearML's Task.setup_azure_upload.
        """
        if not account_key and not use_default_credential:
            raise InvalidValueError("setup_azure_upload takes account_key or use_default_credential=True")
        place = f"azure://{account_name}.blob.core.windows.net" + (f"/{container_name}" if container_name else "")
        self._use(place, account_key=account_key, anon=False if use_default_credential else None)

    def setup_upload(
        self,
        bucket_name: str,
        host: str | None = None,
        access_key: str | None = None,
        secret_key: str | None = None,
        multipart: bool = True,
        https: bool = True,
        region: str | None = None,
        verify: bool = True,
    ) -> None:
        """Send models and uploads to a bucket; the older name of :meth:`setup_aws_upload`.

        Args:
            bucket_name: the bucket.
            host: ``host:port`` of another server than Amazon's.
            access_key: access key.
            secret_key: its secret.
            multipart: passed over.
            https: whether the server speaks HTTPS.
            region: the region.
            verify: whether its certificate is checked.

        Raises:
            MissingExtraError: s3fs is not installed.

        Source: ClearML's Task.setup_upload.
        """
        self.setup_aws_upload(
            bucket_name, host=host, key=access_key, secret=secret_key, region=region, secure=https, verify=verify
        )
