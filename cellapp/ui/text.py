"""Words from files on the page."""


def plain(text: str) -> str:
    """File names and messages are shown as they are, never as Markdown, a link or a formula."""
    return "".join("\\" + c if c in r"\`*_{}[]()#+-.!|<>~$:" else c for c in text)
