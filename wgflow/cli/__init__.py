"""The command line. Everything heavy is imported inside the verbs.

Results go to stdout, progress and errors to stderr. Bad input ends with one line and exit code 2,
a failed run with one line and exit code 1, a command that a signal stopped with one line and exit
code 130 or 143. A density that its own scores say is poor has exit code 3.
"""

from wgflow.cli.entry import app, main

__all__ = ["app", "main"]
