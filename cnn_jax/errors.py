"""Errors that a user can mend: their message is shown as it is, without a traceback."""


class UserError(Exception):
    """Something the user gave or has is wrong; the message says what and the way out."""


class ConfigError(UserError, ValueError):
    """An option, a name or a shape that cannot be used."""
