"""Errors a user can cause, and mend."""


class InputError(ValueError):
    """Input that can't be used: one line with the file or field, the value, the limit and the next step.

    The command line prints the message without a traceback and exits with status 2.
    """
