"""What is learnt and measured: tasks, texts, reference tasks, and the rows that they come to."""

from adamergex.tasks.columns import check_fields, check_lines
from adamergex.tasks.contents import texts_of
from adamergex.tasks.data import Asked, Data, asked, beside, coverage, examples, questions, readings
from adamergex.tasks.examples import Example, Item
from adamergex.tasks.export import write_task
from adamergex.tasks.harness import Questions
from adamergex.tasks.languages import code_for, language_name
from adamergex.tasks.reference import (
    ACROSS,
    DISTILLATION,
    FAMILY_OF,
    FROM_T,
    FROM_TEXT,
    LABELLED_BY_T,
    PLAIN,
    READING,
    REFERENCES,
    prompting,
)
from adamergex.tasks.sources import Source, file_source, hub_source, sliced
from adamergex.tasks.spec import BUILTIN_FOLDER, Task, builtin_tasks, find_task, task_source
from adamergex.tasks.text import TEXTS, text_source
from adamergex.tasks.words import word_source

__all__ = [
    "ACROSS",
    "BUILTIN_FOLDER",
    "DISTILLATION",
    "FAMILY_OF",
    "FROM_T",
    "FROM_TEXT",
    "LABELLED_BY_T",
    "PLAIN",
    "READING",
    "REFERENCES",
    "TEXTS",
    "Asked",
    "Data",
    "Example",
    "Item",
    "Questions",
    "Source",
    "Task",
    "asked",
    "beside",
    "builtin_tasks",
    "check_fields",
    "check_lines",
    "code_for",
    "coverage",
    "examples",
    "file_source",
    "find_task",
    "hub_source",
    "language_name",
    "prompting",
    "questions",
    "readings",
    "sliced",
    "task_source",
    "text_source",
    "texts_of",
    "word_source",
    "write_task",
]
