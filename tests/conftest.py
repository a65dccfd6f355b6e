"""What every test shares: no network, and reproducible property tests."""

import os

# Before any import of huggingface_hub, which reads it once: no test may reach the network.
os.environ["HF_HUB_OFFLINE"] = "1"

from hypothesis import HealthCheck, settings

settings.register_profile(
    "adamergex",
    max_examples=40,
    deadline=None,  # the first PyTorch call is slow, and says nothing of the code under test
    derandomize=True,  # the same examples in every run; nothing is kept on disk
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("adamergex")
