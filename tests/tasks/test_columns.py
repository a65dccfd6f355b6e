"""Which columns a task's prompts are made from."""

import pytest

from adamergex.errors import InputError
from adamergex.tasks import find_task
from adamergex.tasks.columns import columns_of


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("sib200", {"text"}),
        ("emoji", {"text"}),
        ("xnli", {"premise", "hypothesis"}),
        ("xcopa", {"premise", "question", "choice1", "choice2"}),
        ("xquad", {"context", "question"}),
        ("mgsm", {"question"}),
        ("xlsum", {"text"}),
    ],
)
def test_built_in_tasks(tmp_path, name, columns):
    assert columns_of(find_task(name, tmp_path).in_language("en")) == columns


@pytest.mark.parametrize(
    ("config", "columns"),
    [
        ({"doc_to_text": "sentence", "doc_to_choice": "options"}, {"sentence", "options"}),
        ({"doc_to_text": "{% if hint is defined %}{{hint}}{% endif %}{{q}}"}, {"q"}),
        ({"doc_to_text": "{% set a = b.c %}{% for x in d %}{{a}}{{x}}{% endfor %}"}, {"b", "d"}),
        ({"doc_to_text": "{{q | regex_replace('a', 'b')}}", "description": "Answer"}, {"q"}),
        ({"doc_to_text": "{{q}}", "gen_prefix": "{{lead}}:"}, {"q", "lead"}),
    ],
)
def test_templates(config, columns):
    assert columns_of(config) == columns


def test_what_is_no_template_is_named():
    with pytest.raises(InputError, match="t: doc_to_text: found"):
        columns_of({"task": "t", "doc_to_text": "{{q"})
