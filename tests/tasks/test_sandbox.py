"""Templates from anywhere: without Python, and bounded in time and memory."""

import threading

import pytest

from adamergex.errors import InputError
from adamergex.tasks import Questions, sandbox
from tests.support.hostile import watched

TASK = {
    "task": "t",
    "output_type": "generate_until",
    "doc_to_text": "{{q}}",
    "doc_to_target": "{{a}}",
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}
ROWS = [{"q": "x", "a": "y"}]
ASK = """
import sys
from adamergex.errors import InputError
from adamergex.tasks import Questions
from tests.tasks.test_sandbox import ROWS, TASK
try:
    Questions({**TASK, "doc_to_text": sys.argv[1]}, ROWS)
except InputError as error:
    print(error)
"""


def refused(**changes):
    with pytest.raises(InputError) as caught:
        Questions({**TASK, **changes}, ROWS)
    return str(caught.value)


@pytest.fixture
def hurried(monkeypatch):
    """A tenth of a second is enough for any of these."""
    monkeypatch.setattr(sandbox, "SECONDS", 0.2)


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ q.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.system('touch ran') }}",
        "{{ self._TemplateReference__context }}",
        "{{ lipsum.__globals__ }}",
        "{{ ''|attr('__class__') }}",
        "{{ '{0.__class__}'.format(q) }}",
        "{{ range.__self__ }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}{{ os }}",
        "{{ open('/etc/passwd') }}",
    ],
)
def test_a_template_does_not_reach_python(template, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        (item,) = Questions({**TASK, "doc_to_text": template}, ROWS).items
    except InputError:
        pass
    else:
        assert item.prompt == ""  # what is undefined
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{{ ('a' * 40) | regex_replace('(a+)+b', '') }}",
        "{{ (q * 40) | regex_replace('(x+)+b', '') }}",
        "{{ 9 ** (9 ** 9) }}",
        "{{ (q | length + 9) ** (9 ** 9) }}",
        "{{ lipsum(n=10 ** 9) }}",
    ],
)
def test_a_template_without_an_end(hurried, template):
    """Also while it is compiled: Jinja computes constants then."""
    assert "TimeoutError: more than 0.2 seconds" in refused(doc_to_text=template)


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'x' * 10 ** 10 }}",
        "{{ q * 10 ** 10 }}",
        "{{ q.center(10 ** 10) }}",
        "{{ '%10000000000d' | format(1) }}",
        "{{ '{:>10000000000}'.format(q) }}",
        "{{ q | indent(10 ** 10) }}",
        "{{ (q * 10 ** 5).replace('x', 'y' * 10 ** 5) }}",
        "{% set n = namespace(s=q) %}{% for i in range(50) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
    ],
)
def test_a_template_that_would_fill_the_memory(template):
    said, peak = watched(ASK, template)
    assert "MemoryError" in said or "TimeoutError" in said
    assert peak < 2048


@pytest.mark.parametrize(
    "template", ["{% for i in range(10 ** 9) %}x{% endfor %}", "{{ 10 ** 5000 }}"]
)
def test_a_template_that_python_or_jinja_stop_by_themselves(template):
    assert "too big" in refused(doc_to_text=template) or "digits" in refused(doc_to_text=template)


@pytest.mark.parametrize("text", ["{{" + "(" * 5000 + "1" + ")" * 5000 + "}}", "{% if q %}" * 3000])
def test_a_template_of_brackets_in_brackets(text):
    assert "row 0: found" in refused(doc_to_text=text)


def test_choices_of_brackets_in_brackets():
    """They are read as a Python literal where they are a template's text."""
    choices = {"output_type": "multiple_choice", "doc_to_choice": "{{ '[' * 100000 }}"}
    assert "row 0: found" in refused(**choices)


def test_bounds_are_undone(hurried):
    before = sandbox.resource.getrlimit(sandbox.resource.RLIMIT_AS)
    handler = sandbox.signal.getsignal(sandbox.signal.SIGPROF)
    with pytest.raises(TimeoutError), sandbox.bounded():
        while True:
            pass
    assert sandbox.resource.getrlimit(sandbox.resource.RLIMIT_AS) == before
    assert sandbox.signal.getsignal(sandbox.signal.SIGPROF) is handler
    assert sandbox.signal.getitimer(sandbox.signal.ITIMER_PROF) == (0, 0)


def test_questions_are_asked_in_other_threads_too():
    found = []
    work = threading.Thread(target=lambda: found.extend(Questions(TASK, ROWS).items))
    work.start()
    work.join()
    assert [item.prompt for item in found] == ["x"]


def test_a_filter_without_an_end(hurried):
    pattern = {"function": "regex", "regex_pattern": "(a+)+b"}
    asked = Questions({**TASK, "filter_list": [{"name": "f", "filter": [pattern]}]}, ROWS)
    with pytest.raises(InputError, match="filter_list: found TimeoutError"):
        asked.measured([["a" * 40]])
