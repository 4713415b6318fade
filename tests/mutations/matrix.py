DOCUMENT = "docs/faults.md"


def rendered() -> str:
    return ""
