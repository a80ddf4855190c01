"""What is raised where a config or an argument cannot work."""


class ConfigError(ValueError):
    """A config or an argument that cannot work, said in one sentence."""
