"""What is learnt and measured: tasks, texts, reference tasks, and the rows that they come to."""

from adamergex.tasks.data import Data, examples, questions, readings
from adamergex.tasks.examples import Example, Item
from adamergex.tasks.export import write_task
from adamergex.tasks.harness import Questions
from adamergex.tasks.languages import code_for, language_name
from adamergex.tasks.reference import (
    DISTILLATION,
    FAMILY_OF,
    FROM_T,
    FROM_TEXT,
    LABELLED_BY_T,
    PLAIN,
    REFERENCES,
)
from adamergex.tasks.sources import Source, file_source, hub_source, sliced
from adamergex.tasks.spec import BUILTIN_FOLDER, Task, builtin_tasks, find_task, task_source
from adamergex.tasks.text import TEXTS, text_source

__all__ = [
    "BUILTIN_FOLDER",
    "DISTILLATION",
    "FAMILY_OF",
    "FROM_T",
    "FROM_TEXT",
    "LABELLED_BY_T",
    "PLAIN",
    "REFERENCES",
    "TEXTS",
    "Data",
    "Example",
    "Item",
    "Questions",
    "Source",
    "Task",
    "builtin_tasks",
    "code_for",
    "examples",
    "file_source",
    "find_task",
    "hub_source",
    "language_name",
    "questions",
    "readings",
    "sliced",
    "task_source",
    "text_source",
    "write_task",
]
