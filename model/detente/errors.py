"""The errors that detente raises on purpose: each says what was wrong, what is allowed, and the remedy."""


class DetenteError(Exception):
    """Base of every error that is meant to be read by the user; the command line prints it and exits with 1."""


class ConfigError(DetenteError):
    """A codebook or training configuration that does not hold; lists every mistake at once."""


class DataError(DetenteError):
    """Input rows, documents or labelled records that cannot be used."""


class BundleError(DetenteError):
    """A saved model that is missing, incomplete, altered or made by something else."""


class MissingExtraError(DetenteError):
    """A feature whose optional packages are not installed; names the command that installs them."""
