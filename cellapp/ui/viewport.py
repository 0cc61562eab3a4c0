"""Whether the browser window is narrow (a phone), which a server cannot know by itself."""

import streamlit as st

NARROW = 700                                                 # CSS px; below this, panes are stacked

# The value is sent until Python has it, because Streamlit may drop what is sent while a component mounts.
_SCRIPT = """
export default function ({ data, setStateValue }) {
  const tell = () => {
    const narrow = window.innerWidth < data.limit
    if (narrow !== data.narrow) setStateValue("narrow", narrow)
  }
  const timer = setInterval(tell, 400)
  return () => clearInterval(timer)
}
"""


def is_narrow() -> bool:
    """True on a phone. A first visit is taken for a desktop until the browser says otherwise."""
    component = st.components.v2.component("cellapp_viewport", js=_SCRIPT)
    known = bool(st.session_state.get("viewport", {}).get("narrow", False))
    component(key="viewport", data={"limit": NARROW, "narrow": known}, default={"narrow": False},
              on_narrow_change=lambda: None)
    return known
