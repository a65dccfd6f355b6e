"""What every test shares: no network, one thread, and reproducible property tests."""

import gc
import os

# Before any import of huggingface_hub, which reads it once: no test may reach the network.
os.environ["HF_HUB_OFFLINE"] = "1"
# Before torch and NumPy load: on tiny matrices several threads mostly wait for each other. A tiny
# training takes four times the processor's time with two. Tests about threads set their own number.
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "adamergex",
    max_examples=40,
    deadline=None,  # the first PyTorch call is slow, and says nothing of the code under test
    derandomize=True,  # the same examples in every run; nothing is kept on disk
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("adamergex")


def pytest_collection_finish():
    """Leaves what the imports made out of garbage collection.

    accelerate collects at the end of each training: with torch and transformers loaded that takes
    longer than a tiny training itself.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """A tiny random backbone and its tokenizer on disk."""
    from tests.support.backbones import write_tiny_backbone

    return write_tiny_backbone(tmp_path_factory.mktemp("backbone") / "tiny-gemma3")


@pytest.fixture(scope="session")
def tiny(tiny_folder):
    """The same, loaded. Tests must leave it as it was."""
    from adamergex.models import backbone

    return backbone(str(tiny_folder))
