"""Results as people and other programs read them: terminal, HTML, CSV, Markdown, LaTeX."""

from adamergex.report.reading import Results, read_results
from adamergex.report.table import print_table
from adamergex.report.writing import write_report

__all__ = ["Results", "print_table", "read_results", "write_report"]
