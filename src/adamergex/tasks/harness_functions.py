"""What the functions that lm-evaluation-harness's task files name mean, as templates and names.

None of them is run. Each that is known here was read in lm-evaluation-harness 0.4.13, and is taken
only if its file still has the SHA-256 that it had there; prompts and labels are read from that file
as literals.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from adamergex.errors import InputError

__all__ = ["Function", "without_functions"]

_READ = frozenset(
    {
        "191d31bbbfc66be7", "b6f164533e6f05a7", "597f08c0302ce42c", "6833aa79ec6cca6a",
        "b149ff77bb096680", "f73ebd32b66b8860", "5f0502a69ad406d8", "5433c39afd47fb50",
        "7c3e94328c3607c9", "67998331d95278d9", "c1cfe92751ffca6e", "d0ebb65512d9f552",
        "82505ac03d1c56cb", "da353b79ae670e9d", "5333bec1a17f37cf", "e31e27913231afd0",
        "9776c2ffc09ae056", "b4012dd2b1a50888", "280dbae55143a4d1", "49aaaf0034ee7413",
        "ffe5920d8ee35daa", "4ff455d4899e2ab9", "928f11eec23acc71", "07d23b60b28f2a4f",
        "53748c0c6a434a35",
    }
)  # fmt: skip
"""SHA-256, its first 16 digits, of the files whose functions were read."""

Keys = Mapping[str, Any]
"""Of a task, with their values."""
_Meant = Callable[[Keys, Path, re.Match[str]], Keys]
"""The task, a function's file and the match of its name -> keys in place of what they were."""


class Function(str):
    """`module.name` behind !function; the module is a file beside the one that names it."""

    named_in: Path

    def __new__(cls, name: str, named_in: Path) -> Function:
        """With the file that names it."""
        made = super().__new__(cls, name)
        made.named_in = named_in
        return made

    @property
    def file(self) -> Path:
        """Where its text is."""
        module = self.rpartition(".")[0].replace(".", "/")
        return (self.named_in.parent / f"{module}.py").resolve()

    @property
    def last(self) -> str:
        """Its name alone."""
        return self.rpartition(".")[2]


def without_functions(content: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A task's content with templates and names in place of functions.

    Args:
        content: What its file says, with a Function for each !function.
        folder: lm-evaluation-harness's folder of tasks.

    Raises:
        InputError: A function that is not known here.
    """
    made = dict(content)
    for key, value in content.items():
        if isinstance(value, Function):
            made |= _meaning(key, value, content, folder)
    for entry in made.get("metric_list") or []:
        called = entry.get("aggregation") if isinstance(entry, dict) else None
        if isinstance(called, Function) and _imported(called, "lm_eval.utils"):
            entry["aggregation"] = {"weighted_f1_score": "weighted_f1"}.get(called.last, called)
    for key, value in made.items():
        for left in _functions(value):
            needed = "one whose meaning is known here: docs/recipes.md"
            raise InputError(left.named_in, key, found=f"!function {left}", needed=needed)
    return made


def _functions(value: Any) -> list[Function]:
    if isinstance(value, Function):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [found for each in inner for found in _functions(each)]


def _meaning(key: str, called: Function, content: Keys, folder: Path) -> Keys:
    if not called.file.is_relative_to(folder) or not called.file.is_file():
        return {}
    name = f"{called.file.relative_to(folder).parent.as_posix()}.{called.last}"
    for pattern, meaning in _MEANINGS:
        match = re.fullmatch(pattern, f"{key} {name}")
        if match:
            if _digest(called.file) not in _READ:
                needed = "what it holds in lm-eval 0.4.13: its functions are known"
                raise InputError(called.file, found="another content", needed=needed)
            return meaning(content, called.file, match)
    return {}


@lru_cache
def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


@lru_cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _imported(called: Function, module: str) -> bool:
    """Whether a function is one of a module of lm-evaluation-harness itself."""
    if not called.file.is_file():
        return False
    return any(
        isinstance(node, ast.ImportFrom)
        and node.module == module
        and called.last in [each.name for each in node.names if each.asname is None]
        for node in _tree(called.file).body
    )


def _literal(file: Path, name: str, of: str | None = None) -> Any:
    """The value of an assignment, if it is a literal, in a file or in its function `of`."""
    inside: list[ast.stmt] = _tree(file).body
    if of is not None:
        inside = next(n.body for n in inside if isinstance(n, ast.FunctionDef) and n.name == of)
    for node in inside:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            value = node.value
            if isinstance(value, ast.Call):  # partial(function, keyword=literal)
                value = value.keywords[0].value
            return ast.literal_eval(value)
    raise LookupError(name)


def _kept(condition: str) -> _Meant:
    """Of process_docs that drops rows: those stay for which a template says True."""

    def meaning(_content: Keys, _file: Path, match: re.Match[str]) -> Keys:
        return {"process_docs": {"keep": condition.replace("NAME", match.groups("")[0])}}

    return meaning


def _columns(**made: str) -> _Meant:
    """Of process_docs that makes columns: the templates that they are made by, where they are used.

    Other uses of such a column are errors of templates later.
    """

    def meaning(content: Keys, file: Path, _match: re.Match[str]) -> Keys:
        used = {k: v for k, v in content.items() if k.startswith("doc_to_") and v in made}
        return {"process_docs": None, **{key: _filled(made[v], file) for key, v in used.items()}}

    return meaning


def _filled(template: str, file: Path) -> str:
    """With the text of the file's QA_PROMPT in its place."""
    place = "QA_PROMPT"
    return template.replace(place, _literal(file, place)) if place in template else template


def _fixed(**keys: Any) -> _Meant:
    def meaning(_content: Keys, _file: Path, match: re.Match[str]) -> Keys:
        return {key: value and match.expand(value) for key, value in keys.items()}

    return meaning


def _xcopa_text(_content: Keys, file: Path, match: re.Match[str]) -> Keys:
    words = json.dumps(_literal(file, match["name"]), ensure_ascii=False)
    return {"doc_to_text": f"{{{{ premise.strip()[:-1] }}}} {{{{ {words}[question] }}}}"}


def _formatted(_content: Keys, file: Path, _match: re.Match[str]) -> Keys:
    """`output.format(column=row[column])`, where choice1 is the first of `choices`."""
    text = _literal(file, "output", "doc_to_text")
    text = re.sub(r"\{choice(\d)\}", lambda m: f"{{{{ choices[{int(m[1]) - 1}] }}}}", text)
    text = re.sub(r"(?<!\{)\{(\w+)\}(?!\})", r"{{ \1 }}", text)
    listed = {"process_docs": {"parse": ["choices"]}} if "choices[" in text else {}
    return {"doc_to_text": text, **listed}


def _replaced(_content: Keys, file: Path, _match: re.Match[str]) -> Keys:
    words = _literal(file, "replacements", "doc_to_target")
    return {"doc_to_target": f"{{{{ {words!r}[label|int] }}}}"}


def _clean(text: str) -> str:
    """What okapi's `preprocess` does, as an expression."""
    brackets = r"regex_replace('\\[.*?\\]', '')"
    return f"{text}|trim|replace(' [title]', '. ')|{brackets}|replace('  ', ' ')"


def _all_clean(texts: str) -> str:
    """The list of them, as a template."""
    return (
        f"{{% set made = namespace(all=[]) %}}{{% for text in {texts} %}}"
        f"{{% set made.all = made.all + [{_clean('text')}] %}}{{% endfor %}}{{{{ made.all }}}}"
    )


_MEANINGS: tuple[tuple[str, _Meant], ...] = (
    (r"process_docs global_mmlu/.*\.process_(\w+)", _kept("{{ subject == 'NAME' }}")),
    (
        r"process_docs openai-mmmlu/default\.process_(\w+)",
        _kept("{{ Subject.split('_test.csv')[0].split('_test-')[0] == 'NAME' }}"),
    ),
    (
        r"process_docs include/.*\.process_(\w+)",
        _kept("{{ domain|lower|replace(' & ', '_')|replace(' ', '_') == 'NAME' }}"),
    ),
    (
        r"process_docs bigbench\.filter_multiple_choice()",
        _kept("{{ multiple_choice_targets|length > 0 }}"),
    ),
    (
        r"process_docs eus_exams\.process_docs()",
        _kept("{{ answer in [0, 1, 2, 3] and candidates != ['', '', '', ''] }}"),
    ),
    (
        r"process_docs okapi/arc_multilingual\.process_docs",
        _columns(
            query=f"Question: {{{{ {_clean('instruction')} }}}}\nAnswer:",
            choices=_all_clean("[option_a, option_b, option_c, option_d, option_e]|select"),
            gold="{{ ['A', 'B', 'C', 'D', 'E'].index(answer) }}",
        ),
    ),
    (
        r"process_docs okapi/hellaswag_multilingual\.process_docs",
        _columns(
            query="{% set text = activity_label ~ ': ' ~ ctx_a ~ ' ' ~ ctx_b|capitalize %}"
            f"{{{{ {_clean('text')} }}}}",
            choices=_all_clean("endings"),
        ),
    ),
    (
        r"process_docs okapi/truthfulqa_multilingual\.process_docs",
        _columns(
            query=f"QA_PROMPT\n\nQ: {{{{ {_clean('question')} }}}}\nA:",
            mc1_choices="{{ mc1_targets_choices }}",
        ),
    ),
    (
        r"process_docs mlqa\.process_docs",
        _fixed(process_docs=None, doc_to_target="{{ answers.text[0] }}"),
    ),
    (r"process_results mlqa\.process_results_(\w+)", _fixed(process_results=r"squad_\1")),
    (r"process_results xquad\.process_results_qa", _fixed(process_results="harness_squad")),
    (r"doc_to_text xcopa\.(?P<name>doc_to_text_\w+)", _xcopa_text),
    (
        r"doc_to_choice xcopa\.doc_to_choice",
        _fixed(
            doc_to_choice="{{ [choice1[0]|lower ~ choice1[1:], choice2[0]|lower ~ choice2[1:]] }}"
        ),
    ),
    (r"doc_to_text afrimmlu/.*\.doc_to_text", _formatted),
    (r"doc_to_choice afrimmlu/.*\.doc_to_choice", _fixed(doc_to_choice="{{ choices }}")),
    (r"doc_to_text afrixnli/.*\.doc_to_text", _formatted),
    (r"doc_to_target afrixnli/.*\.doc_to_target", _replaced),
)
"""Key, folder and name of a function -> what it means."""
