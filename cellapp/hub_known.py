"""Repositories on the Hugging Face Hub whose weights were tried with this version of cellapp.

A new one is a line here: its address and what it counts. None has been published yet.
"""

KNOWN: tuple[tuple[str, str], ...] = ()                      # ("user/repo@revision", "what it counts")
