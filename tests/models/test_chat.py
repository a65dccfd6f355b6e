"""Chats: the tokens that TRL would train on and lm-evaluation-harness would score."""

import json
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from lm_eval.models.huggingface import HFLM
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from adamergex.errors import InputError
from adamergex.methods import Catalog
from adamergex.models import backbone
from adamergex.recipe import DataFiles
from adamergex.score.choices import likelihoods
from adamergex.tasks import Example, Item, examples
from tests.support.backbones import QUIET_TRAINING, ROWS
from tests.support.families import write_family

pytestmark = [
    QUIET_TRAINING,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning"),
]

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<{{ m.role }}>\n{{ m.content }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>\n{% endif %}"
)
SYSTEM = "Answer in one word."
ASKED = [row for row in ROWS if row.prompt]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = write_family("llama", tmp_path_factory.mktemp("chat") / "llama")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": TEMPLATE}))
    return backbone(str(folder))


def turns(system, row):
    before = [{"role": "system", "content": system}] if system else []
    return [*before, {"role": "user", "content": row.prompt}]


@pytest.mark.parametrize("system", [None, SYSTEM])
def test_training_sees_the_tokens_that_trl_makes(base, system, tmp_path):
    rows = [
        {
            "prompt": turns(system, row),
            "completion": [{"role": "assistant", "content": row.completion.strip()}],
        }
        for row in ASKED
    ]
    trainer = SFTTrainer(
        model=base.model,
        args=SFTConfig(output_dir=str(tmp_path), report_to="none", use_cpu=True, bf16=False),
        train_dataset=Dataset.from_list(rows),
        processing_class=base.tokenizer,
    )
    base.settled()
    chat = base.chatting({"apply_chat_template": True, "system_instruction": system})
    found = chat.all_tokens(ASKED, end=True)
    for tokens, wanted in zip(found, trainer.train_dataset, strict=True):
        assert tokens.ids == wanted["input_ids"]
        assert [-100] * tokens.prompt_length + tokens.answer == wanted["labels"]


@pytest.mark.parametrize("system", [None, SYSTEM])
def test_scoring_sees_the_tokens_of_the_harness(base, system):
    theirs = HFLM(pretrained=base.model, tokenizer=base.tokenizer, device="cpu")
    chat = base.chatting({"apply_chat_template": True, "system_instruction": system})
    items = [Item("1", "red apple =", (" Food", " Animals"), 0)]
    ((first, second),) = likelihoods(chat, base.model, items)
    for choice, found in ((" Food", first), (" Animals", second)):
        row = Example("red apple =", choice)
        context = theirs.apply_chat_template(turns(system, row))
        prompt, answer = theirs._encode_pair(context, choice.strip())
        tokens = chat.tokens(row, end=False)
        assert (tokens.ids, tokens.answer) == ([*prompt, *answer], answer)
        ((log, greedy),) = theirs.loglikelihood(
            [SimpleNamespace(args=(context, choice.strip()))], disable_tqdm=True
        )
        assert found[0] == pytest.approx(log, rel=1e-5)
        assert found[1] == greedy


def test_plain_text_is_no_chat(base):
    row = Example("", "the text itself")
    chat = base.chatting({"apply_chat_template": True})
    mixed = chat.all_tokens([ASKED[0], row], end=True)
    assert mixed[1] == base.tokens(row, end=True)
    assert mixed[0] != base.tokens(ASKED[0], end=True)


def test_a_prompt_that_is_too_long_loses_what_is_before_its_tail(base):
    chat = base.chatting({"apply_chat_template": True})
    row = Example("red apple " * 30 + "=", " Food", tail=1)
    for end in (False, True):
        tokens = chat.tokens(row, end=end, max_length=60)
        text = base.tokenizer.decode(tokens.ids)
        assert len(tokens.ids) <= 60
        assert text.startswith("<bos><user>\nred apple")
        assert "=<end>\n<assistant>\nFood" in text


def test_answers_are_written_behind_the_template(base):
    from adamergex.score import generations

    chat = base.chatting({"apply_chat_template": True, "system_instruction": SYSTEM})
    item = Item("1", "red apple =", (), None, until=("\n",), max_gen_toks=4)
    (found,) = generations(chat, base.model, [item])
    text = chat.chat.prompt(base.tokenizer, item.prompt)
    ids = torch.tensor([base.tokenizer(text, add_special_tokens=False).input_ids])
    with torch.no_grad():
        written = base.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=4, do_sample=False
        )
    wanted = base.tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True)
    assert found == wanted.split("\n")[0]


def test_without_a_template_or_a_decoder_it_is_refused(tiny, base, tmp_path):
    chat = tiny.chatting({"apply_chat_template": True})
    with pytest.raises(InputError, match="a tokenizer without a chat template"):
        chat.tokens(ASKED[0], end=True)
    pair = backbone(str(write_family("t5", tmp_path / "t5")))
    with pytest.raises(InputError, match="apply_chat_template: found true, for an encoder-decoder"):
        pair.chatting({"apply_chat_template": True})
    assert base.chatting({}) is base


@pytest.mark.parametrize(
    ("row", "text", "target"),
    [
        (
            {"messages": [{"role": "user", "content": "a lion ="},
                          {"role": "assistant", "content": "Animals"}]},
            "{{messages[0].content}}", "{{messages[1].content}}",
        ),
        (
            {"prompt": [{"role": "user", "content": "a lion ="}],
             "completion": [{"role": "assistant", "content": "Animals"}]},
            "{{prompt[0].content}}", "{{completion[0].content}}",
        ),
        ({"prompt": "a lion =", "completion": "Animals"}, "{{prompt}}", "{{completion}}"),
    ],
)  # fmt: skip
def test_trls_formats_are_tasks_by_yaml_alone(tmp_path, row, text, target):
    assert learnt(tmp_path, [row], text, target) == [Example("a lion =", " Animals")]


TALK = [("system", "Be short."), ("user", "a lion ="), ("assistant", "Animals"),
        ("user", "a train ="), ("assistant", "Travel")]  # fmt: skip


@pytest.mark.parametrize("turns", [TALK, TALK[1:], TALK[1:4]])
def test_turns_that_no_template_reads_are_refused(tmp_path, turns):
    """A system's turn before is read by no template either, where these begin with the user's."""
    rows = [{"messages": said(TALK[1:3])}, {"messages": said(turns)}]
    texts = "{{messages[0].content}}", "{{messages[1]['content']}}"
    with pytest.raises(InputError) as raised:
        learnt(tmp_path, rows, *texts)
    assert f"row 1, messages: found {len(turns)} turns (line 2); needed 2" in str(raised.value)
    assert learnt(tmp_path, rows, *texts, bad_rows="skip") == [Example("a lion =", " Animals")]


def test_templates_that_read_all_turns_have_the_last_as_the_answer(tmp_path):
    before = "{% for turn in messages[:-1] %}{{turn.role}}: {{turn.content}}\n{% endfor %}"
    (found,) = learnt(tmp_path, [{"messages": said(TALK)}], before, "{{messages[-1].content}}")
    assert found.prompt.startswith("system: Be short.\nuser: a lion =\nassistant: Animals\nuser: a")
    assert found.completion == " Travel"


def said(turns):
    return [{"role": role, "content": content} for role, content in turns]


def learnt(folder, rows, text, target, **options):
    (folder / "en.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "task": "mine_{language}", "output_type": "generate_until", "doc_to_text": text,
        "doc_to_target": target, "metric_list": [{"metric": "exact_match"}],
    }  # fmt: skip
    (folder / "mine.yaml").write_text(json.dumps(task))
    catalog = Catalog("en", folder, {"mine": DataFiles(train="{language}.jsonl")}, **options)
    found = catalog.rows(catalog.task("mine.yaml"), "en", "train")
    return examples(found.config, found.files)
