"""`adamergex preview`: one training example of each task, as the model sees it."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from adamergex.errors import InputError, printable
from adamergex.methods import Catalog
from adamergex.models import Backbone, Tokens, tokenizer
from adamergex.recipe import Recipe, Reference
from adamergex.tasks import FROM_T, READING, Data, Example, asked, examples, readings

__all__ = ["print_preview"]


def print_preview(recipe: Recipe) -> None:
    """Prints an example of every task and reference task, the part without loss dimmed.

    Also how many rows and tokens each has, and how many tokens carry loss.
    """
    catalog = Catalog.of(recipe)
    console = Console(highlight=False, soft_wrap=True)
    local = recipe.folder / recipe.model
    tokens = tokenizer(str(local.resolve()) if local.exists() else recipe.model)
    tokens = tokens.chatting(recipe.chat())
    for name in recipe.tasks:
        task = catalog.task(name)
        rows = catalog.rows(task, recipe.source, "train")
        _show(console, f"{task.name}, {recipe.source}", rows, tokens, recipe)
    for reference in recipe.reference:
        for language in (recipe.source, *recipe.targets):
            title = f"{reference.title}, {language}"
            if reference.task == READING:
                _show_asked(console, title, catalog, None, reference, language)
            elif reference.task in FROM_T:
                for task in recipe.tasks:
                    _show_asked(console, f"{title}, for {task}", catalog, task, reference, language)
            else:
                _show(console, title, catalog.reference(reference, language), tokens, recipe)


def _show_asked(
    console: Console,
    title: str,
    catalog: Catalog,
    task: str | None,
    reference: Reference,
    language: str,
) -> None:
    """A prompt that T answers, or that Rt learns to answer as T does, and how many there are."""
    asks = catalog.task(task) if task else None
    data = catalog.unlabelled(asks, reference, language, projected=True)
    found = asked(data.config, data.files)
    known = "" if found.coverage is None else f", word list has {found.coverage:.0%} of the words"
    console.print(f"[bold]{title}[/]: {len(found.items)} prompts{known}")
    for item in list(found.items.values())[:1]:
        console.print(Text(printable(item.prompt, also="\n\t"), "dim"))
    console.print()


def _show(console: Console, title: str, rows: Data, tokens: Backbone, recipe: Recipe) -> None:
    found = examples(rows.config, rows.files)
    if not found:
        raise InputError(title, "rows", found=0, needed="at least one: is the text blank?")
    most = recipe.training.max_length
    split = [tokens.tokens(row, end=True, max_length=most) for row in found]
    learnt = sum(len(t.ids) - t.prompt_length for t in split)
    total = sum(len(t.ids) for t in split)
    console.print(
        f"[bold]{title}[/]: {len(found)} rows, {total} tokens, {learnt} of them with loss"
    )
    for line in readings(rows):
        console.print(Text(printable(line), "dim"))
    console.print(_marked(found[0]) if tokens.chat is None else _spelt(tokens, split[0]))
    console.print()


def _spelt(tokens: Backbone, row: Tokens) -> Text:
    """A turn of a chat as its template spells it."""
    parts = (row.ids[: row.prompt_length], row.answer)
    prompt, answer = (printable(tokens.tokenizer.decode(ids), also="\n\t") for ids in parts)
    return Text.assemble((prompt, "dim"), (answer, "bold green"))


def _marked(row: Example) -> Text:
    prompt, completion = (printable(text, also="\n\t") for text in (row.prompt, row.completion))
    return Text.assemble((prompt, "dim"), (completion, "bold green"), ("<end>", "green"))
