"""The one kind of error a user is meant to read."""


class AerloomError(Exception):
    """What is wrong, where, and what to do about it, in one sentence.

    The command line prints it and exits with code 2; nothing else in aerloom is shown without a traceback.
    """


class AerloomWarning(UserWarning):
    """Something was decided, or approximated, that a user may want to decide otherwise."""
