"""SQL statements in files: the file `claim.sql` is beside the module that uses it.

A long statement, or one that is put together, has a file of its own; the others are in the module.  `{name}` in a file is a
fragment that several statements share.
"""

from importlib import resources


def statement(package: str | None, name: str, **fragments: str) -> bytes:
    """Read `<name>.sql` of a package (its `__package__`) and put the fragments in.

    The result is bytes, because type checkers accept only a literal `str` as a query.
    """
    return fragment(package, name, **fragments).encode()


def fragment(package: str | None, name: str, **fragments: str) -> str:
    """Read `<name>.sql` of a package as text, to be put into statements."""
    if package is None:
        raise ValueError("statements belong to a package")
    text = (resources.files(package) / f"{name}.sql").read_text()
    for key, value in fragments.items():
        text = text.replace(f"{{{key}}}", value)
    return text
