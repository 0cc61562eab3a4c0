"""What a container runs: ``python -m cellapp.ui.serve``; ``--check`` asks a running one whether it is well.

    CELLAPP_UI      streamlit (the pages; default) or gradio
    PORT            7860 by default
    SPACE_ID        set on the Hugging Face Hub, which shows the page in a frame of another site
"""

import os
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
_HEALTH = {"streamlit": "/_stcore/health", "gradio": "/gradio_api/startup-events"}


def command(environment: Mapping[str, str]) -> list[str]:
    """The command line of the server that the environment asks for."""
    if _kind(environment) == "gradio":
        return [sys.executable, "gradio_app.py"]
    flags = ["--server.headless=true", "--server.address=0.0.0.0", f"--server.port={_port(environment)}",
             "--server.websocketPingInterval=20"]
    if "SPACE_ID" in environment:
        # In a frame of another site the browser sends no cookie, so the check against forged requests refuses every
        # upload. An upload needs the random name of a living session anyway.
        flags += ["--server.enableXsrfProtection=false", "--server.enableCORS=false"]
    return [sys.executable, "-m", "streamlit", "run", "app.py", *flags]


def settings(environment: Mapping[str, str]) -> dict[str, str]:
    """What the server finds in its environment besides."""
    gradio = {"GRADIO_SERVER_NAME": "0.0.0.0", "GRADIO_SERVER_PORT": _port(environment)}
    return {**environment, **(gradio if _kind(environment) == "gradio" else {})}


def check(environment: Mapping[str, str]) -> int:
    """0 if the server answers, else 1: the health check of a container."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{_port(environment)}{_HEALTH[_kind(environment)]}", timeout=4):
            return 0
    except OSError:
        return 1


def _kind(environment: Mapping[str, str]) -> str:
    kind = environment.get("CELLAPP_UI") or "streamlit"
    if kind not in _HEALTH:
        sys.exit(f"CELLAPP_UI={kind}: there is no such user interface; choose one of: {', '.join(_HEALTH)}.")
    return kind


def _port(environment: Mapping[str, str]) -> str:
    return environment.get("PORT") or "7860"


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        sys.exit(check(os.environ))
    os.chdir(PROJECT)
    line = command(os.environ)
    os.execve(line[0], line, settings(os.environ))
