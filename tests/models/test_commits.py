"""A model on the Hub is read at the commit that its step names."""

import shutil

import pytest

from adamergex.models import backbone_family, tokenizer
from tests.support.backbones import QUIET_TRAINING, write_tiny

pytestmark = QUIET_TRAINING

COMMITS = {"llama": "1" * 40, "t5": "2" * 40}


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
    """The Hub's cache with two commits of one repository; offline, as all tests are."""
    cache = tmp_path_factory.mktemp("cache")
    repository = cache / "models--org--tiny"
    for kind, commit in COMMITS.items():
        made = write_tiny(kind, tmp_path_factory.mktemp(kind))
        shutil.copytree(made, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMITS["llama"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
        yield


@pytest.mark.parametrize(("kind", "family"), [("llama", "decoder"), ("t5", "encoder-decoder")])
def test_each_commit_is_what_it_is(cached, kind, family):
    assert backbone_family(f"org/tiny@{COMMITS[kind]}") == family
    assert tokenizer(f"org/tiny@{COMMITS[kind]}").model.config.name_or_path == "org/tiny"


def test_a_branch_is_followed(cached):
    assert backbone_family("org/tiny@main") == backbone_family("org/tiny") == "decoder"


def test_a_folder_may_have_the_sign_in_its_name(tmp_path):
    folder = write_tiny("llama", tmp_path / "a@b")
    assert backbone_family(str(folder)) == "decoder"
