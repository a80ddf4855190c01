"""A catalogue of bad inputs to the command-line tools, and what they answer."""
