"""Results as people read them: a table in the terminal, one HTML page."""

from adamergex.report.page import write_page
from adamergex.report.table import print_table

__all__ = ["print_table", "write_page"]
