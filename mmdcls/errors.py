"""The errors that a user can mend; the message of each is one sentence.

The tools print these errors without a traceback. Any other error is a bug, and looks
like one. More kinds are defined beside what raises them.
"""


class MmdclsError(Exception):
    """The base class of all errors that a user can mend."""


class ConfigError(MmdclsError, ValueError):
    """A config, or what a run was told besides it, cannot work."""


class ArgumentError(MmdclsError, ValueError):
    """An argument has a value that cannot work."""


class ArgumentTypeError(MmdclsError, TypeError):
    """An argument is of a kind that cannot work."""


class MissingPackageError(MmdclsError, ImportError):
    """A package is needed that is not installed."""


class IncompatiblePackageError(MmdclsError, RuntimeError):
    """An installed package is of a version, or built in a way, that cannot work.

    It is no ImportError, which mmengine's registries would log and pass over.
    """
