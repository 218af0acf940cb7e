"""A module for a script bundle: zip it, hand the zip in beside a script, and the script can import it."""


def print_hello(name):
    """Greet somebody in the log."""
    print(f"Hello, {name}!")
