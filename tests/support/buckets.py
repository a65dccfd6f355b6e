"""Object stores on this machine that speak the protocols of S3 and of Google Cloud Storage."""

import socket
from contextlib import contextmanager

import fsspec
import pytest

BUCKET = "bucket"


@contextmanager
def s3():
    """A bucket that s3fs finds, here and in processes that are started meanwhile."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "nobody")
        forget("s3")
        fsspec.filesystem("s3").makedirs(BUCKET, exist_ok=True)  # moto remembers it
        yield f"s3://{BUCKET}"
    server.stop()


@contextmanager
def gs():
    """A bucket that gcsfs finds, in the same way."""
    from gcp_storage_emulator.server import create_server

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        forget("gs")
        with create_server("127.0.0.1", port, in_memory=True, default_bucket=BUCKET):
            yield f"gs://{BUCKET}"


def forget(protocol):
    """Has fsspec make its clients anew: those that it keeps know of an earlier server."""
    fsspec.get_filesystem_class(protocol).clear_instance_cache()


@contextmanager
def memory():
    """The same in this process alone."""
    yield f"memory://{BUCKET}"


STORES = {"memory": memory, "s3": s3, "gs": gs}
