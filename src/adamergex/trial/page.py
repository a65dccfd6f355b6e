"""A local web page to try adapters: nothing here but the page; what it shows is from `answers`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from html import escape
from importlib import import_module
from threading import Lock
from typing import Any

from adamergex.errors import AdamergexError
from adamergex.trial.answers import answers, ready
from adamergex.trial.entries import Entry

__all__ = ["serve"]

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when it is imported
gr: Any = import_module("gradio")

_HOST = "127.0.0.1"
_FURTHEST = 2.0
_SHOWN = {"base": "Base model", "task": "T, the task adapter", "merged": "Merged, at t"}
_FONTS = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
"""Of the system: Gradio's own would be fetched from elsewhere."""
_TURN = Lock()
"""An adapter is put into the base's own weights."""


def serve(found: Sequence[Entry], port: int | None, say: Callable[[str], None]) -> None:
    """Shows the page to this machine alone, until interrupted.

    Args:
        found: What can be tried.
        port: Where; by default the first free one from 7860 on.
        say: Is told the address.

    Raises:
        InputError: A base model that does not write; adapters that do not fit together.
    """
    for entry in found:
        ready(entry)
    made = page(found)
    _, address, _ = made.launch(
        server_name=_HOST, server_port=port, share=False, quiet=True, prevent_thread_lock=True,
        ssr_mode=False, mcp_server=False, enable_monitoring=False, footer_links=[],
        theme=gr.themes.Default(**_FONTS),
    )  # fmt: skip
    say(address)
    made.block_thread()


def asked(entry: Entry, t: float, prompt: str, choices: str, spaced: bool) -> list[Any]:
    """For each of `_SHOWN` what stands in its column: all chances first, then all texts."""
    lines = [line.strip() for line in choices.splitlines() if line.strip()]
    try:
        with _TURN:
            said = answers(entry, prompt, tuple(" " * spaced + line for line in lines), t)
    except AdamergexError as error:
        raise gr.Error(escape(str(error)), print_exception=False) from None
    found = [said.get(name) for name in _SHOWN]
    texts = [gr.update(value=x and x.text, visible=not lines) for x in found]
    return [x and x.chances for x in found] + texts


def page(found: Sequence[Entry]) -> Any:
    """The page, not served yet."""
    first = found[0]

    def at(index: int, *given: Any) -> list[Any]:
        return asked(found[index], *given)

    def chosen(index: int) -> list[Any]:
        entry = found[index]
        none = [None] * 2 * len(_SHOWN)  # what another adapter said
        return [entry.scale, entry.prompt, *_lines(entry.choices), *none]

    with gr.Blocks(title="adamergex try", analytics_enabled=False) as made:
        names = [(entry.name, i) for i, entry in enumerate(found)]
        which = gr.Dropdown(names, value=0, label="Adapter", visible=len(found) > 1)
        prompt = gr.Textbox(first.prompt, label="Prompt", lines=3)
        text, space = _lines(first.choices)
        choices = gr.Textbox(
            text, lines=3, max_lines=10, label="Choices, one a line; none for free text"
        )
        spaced = gr.Checkbox(space, label="A space between the prompt and each choice")
        most = max(_FURTHEST, *(entry.scale for entry in found))
        t = gr.Slider(0, most, first.scale, step=0.05, label="t")
        button = gr.Button("Ask", variant="primary")
        with gr.Row():
            known = any(entry.task for entry in found)
            columns = [_column(_SHOWN[x], x != "task" or known) for x in _SHOWN]
        shown = [part for parts in zip(*columns, strict=True) for part in parts]
        given = [which, t, prompt, choices, spaced]
        gr.on(
            [button.click, prompt.submit, t.input], at, given, shown,
            trigger_mode="always_last", api_visibility="private",
        )  # fmt: skip
        others = [t, prompt, choices, spaced, *shown]
        which.change(chosen, which, others, api_visibility="private")
    return made


def _column(title: str, visible: bool) -> tuple[Any, Any]:
    with gr.Column(min_width=300, visible=visible):
        return gr.Label(label=title), gr.Textbox(label="Writes", interactive=False)


def _lines(choices: Sequence[str]) -> tuple[str, bool]:
    """Choices as they stand in the page, and whether a space goes before each."""
    spaced = all(choice.startswith(" ") for choice in choices)
    return "\n".join(choice.strip() for choice in choices), spaced
