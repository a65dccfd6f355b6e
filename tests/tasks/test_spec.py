"""Task files: the place for the language, and what is refused before anything is run."""

import pytest
import yaml

from adamergex.errors import InputError
from adamergex.tasks import builtin_tasks, code_for, find_task, language_name
from adamergex.tasks.languages import spellings
from adamergex.tasks.spec import filled

TASK = {
    "task": "t_{language}",
    "output_type": "multiple_choice",
    "doc_to_text": "{{text}} {language} {{language}}",
    "doc_to_choice": ["a", "b"],
    "doc_to_target": "label",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}


def written(folder, **changes):
    content = {key: value for key, value in {**TASK, **changes}.items() if value is not None}
    (folder / "t.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return find_task("t.yaml", folder)


def test_the_language_is_filled_in_at_every_depth():
    value = {"a": ["{language}", {"b": "x {language} y"}], "c": 3}
    assert filled(value, "sw") == {"a": ["sw", {"b": "x sw y"}], "c": 3}
    assert filled("{{language}} {{ {'sw': 1}['{language}'] }}", "sw") == (
        "{{language}} {{ {'sw': 1}['sw'] }}"
    )


def test_a_task_in_a_language(tmp_path):
    config = written(tmp_path).in_language("sw")
    assert config["task"] == "t_sw"
    assert config["doc_to_text"] == "{{text}} sw {{language}}"


def test_choices_are_the_same_where_no_row_and_no_language_changes_them(tmp_path):
    assert written(tmp_path).same_choices("sw", "yo")
    own = {"languages": {"sw": {"doc_to_choice": ["c", "d"]}, "yo": {}}}
    assert not written(tmp_path, metadata=own).same_choices("sw", "yo")
    assert not written(tmp_path, doc_to_choice="{{choices}}").same_choices("sw", "yo")
    free = {"output_type": "generate_until", "doc_to_choice": None}
    assert written(tmp_path, **free).same_choices("sw", "yo")


def test_a_language_has_keys_of_its_own(tmp_path):
    metadata = {
        "codes": "iso",
        "languages": {"sw": {"description": "own"}, "en": None},
        "training": {"en": {"doc_to_target": "other"}},
    }
    task = written(tmp_path, metadata=metadata)
    assert task.in_language("swh_Latn") == task.in_language("sw")
    assert task.in_language("sw")["description"] == "own"
    assert "description" not in task.in_language("en")
    assert task.in_language("en", training=True)["doc_to_target"] == "other"
    assert task.in_language("en")["doc_to_target"] == "label"
    with pytest.raises(InputError, match="t: language: found de; needed en or sw"):
        task.in_language("de")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"doc_to_txt": "x"}, "doc_to_txt: found a key"),
        ({"num_fewshot": 3}, "num_fewshot: found 3; needed 0"),
        ({"repeats": 2}, "repeats: found 2; needed 1"),
        ({"unsafe_code": True}, "unsafe_code: found True"),
        ({"custom_dataset": "x"}, "custom_dataset: found a key"),
        ({"shorten": "text"}, "shorten: found a key"),
        ({"metadata": {"shorten": 3}}, "metadata.shorten: found 3"),
        ({"process_docs": {"run": "x"}}, "process_docs.run: found a key; needed keep or parse"),
        (
            {"metric_list": [{"metric": "bleu"}]},
            "metric_list: found [{'metric': 'bleu'}]; needed acc",
        ),
        ({"generation_kwargs": {"temperature": 1.0}}, "generation_kwargs.temperature: found 1.0"),
        ({"output_type": "loglikelihood"}, "output_type: found loglikelihood"),
        ({"output_type": "generate_until"}, "doc_to_choice"),
        ({"doc_to_choice": None}, "doc_to_choice: found None"),
        ({"metric_list": None}, "metric_list: found nothing"),
        ({"generation_kwargs": {"num_beams": 4}}, "generation_kwargs.num_beams: found 4; needed"),
        ({"generation_kwargs": {"do_sample": True}}, "generation_kwargs.do_sample: found True"),
        ({"process_results": "os.system"}, "process_results: found os.system; needed squad or"),
        ({"process_results": "squad_"}, "process_results: found squad_"),
        ({"metadata": {"codes": "latin"}}, "codes: found latin; needed iso or flores"),
        ({"metadata": {"languages": {False: {}}}}, "metadata.languages: found False"),
        ({"metadata": {"languages": {"sw": {"bad": 1}}}}, "bad: found a key"),
    ],
)
def test_what_is_no_task(tmp_path, changes, says):
    with pytest.raises(InputError) as raised:
        written(tmp_path, **changes)
    assert says in str(raised.value)


def test_keys_that_change_nothing_are_no_part_of_a_task(tmp_path):
    inert = {
        "num_fewshot": 0, "repeats": 1, "unsafe_code": False, "fewshot_split": "dev",
        "fewshot_config": {"sampler": "first_n"}, "should_decontaminate": True,
        "doc_to_decontamination_query": "text", "group": "g",
    }  # fmt: skip
    assert written(tmp_path, **inert).in_language("sw") == written(tmp_path).in_language("sw")


def test_greedy_whatever_the_temperature(tmp_path):
    free = {"output_type": "generate_until", "doc_to_choice": None,
            "metric_list": [{"metric": "exact_match"}]}  # fmt: skip
    for kwargs in ({"do_sample": False, "temperature": 1.0}, {"num_beams": 1, "temperature": 0}):
        assert written(tmp_path, generation_kwargs=kwargs, **free).free_text


def test_the_field_that_gives_way_reaches_the_questions(tmp_path):
    task = written(tmp_path, metadata={"shorten": "text", "version": 1})
    assert task.in_language("sw")["shorten"] == "text"
    assert task.in_language("sw")["metadata"] == {"version": 1}


@pytest.mark.parametrize(
    "text",
    ["doc_to_text: !function utils.f", "!!python/name:os.system", "- a list", "a: [", "\x00"],
)
def test_a_task_is_plain_data(tmp_path, text):
    (tmp_path / "t.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"t\.yaml"):
        find_task("t.yaml", tmp_path)


def test_a_task_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"task: found sib; needed emoji or .*or the path"):
        find_task("sib", tmp_path)
    with pytest.raises(InputError, match="no such file"):
        find_task("none.yaml", tmp_path)


def test_the_built_in_tasks():
    assert builtin_tasks() == ["emoji", "mgsm", "sib200", "xcopa", "xlsum", "xnli", "xquad"]


@pytest.mark.parametrize(
    ("code", "iso", "flores"),
    [("sw", "sw", "swh_Latn"), ("swh_Latn", "sw", "swh_Latn"), ("xx_Latn", "xx_Latn", "xx_Latn")],
)
def test_codes_either_way(code, iso, flores):
    assert (code_for(code, "iso"), code_for(code, "flores")) == (iso, flores)
    assert code_for(code, None) == code


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("sw", ["sw", "swh_Latn", "swa", "swahili"]),
        ("gaz_Latn", ["gaz_Latn", "gaz", "orm", "oromo"]),
        ("xx_Latn", ["xx_Latn", "xx"]),
        ("x y", ["x y"]),
    ],
)
def test_the_ways_to_spell_a_language(code, names):
    assert [name for name in spellings(code) if name in names] == names


@pytest.mark.parametrize(
    ("code", "name"),
    [("swh_Latn", "Swahili"), ("sw", "Swahili"), ("zho_Hans", "Chinese"), ("x y", "x y")],
)
def test_names_of_languages(code, name):
    assert language_name(code) == name
