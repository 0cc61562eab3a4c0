"""Whether the browser window is narrow (a phone), which a server cannot know by itself."""

import streamlit as st

NARROW = 700                                                 # CSS px; below this, panes are stacked

# What a component sends while it mounts may be dropped, so it is sent a little later, and again if Python
# has not answered. One timer for the page: every answer mounts the script anew.
_SCRIPT = """
let timer = null
export default function ({ data, setStateValue }) {
  clearTimeout(timer)
  document.documentElement.dataset.narrow = data.narrow      // what the page is drawn for
  const tell = (tries) => {
    const narrow = window.innerWidth < data.limit
    if (narrow === data.narrow || tries === 0) return
    setStateValue("narrow", narrow)
    timer = setTimeout(() => tell(tries - 1), 5000)
  }
  timer = setTimeout(() => tell(3), 300)
  return () => clearTimeout(timer)
}
"""


def is_narrow() -> bool:
    """True on a phone. A first visit is taken for a desktop until the browser says otherwise."""
    component = st.components.v2.component("cellapp_viewport", js=_SCRIPT)
    known = bool(st.session_state.get("viewport", {}).get("narrow", False))
    component(key="viewport", data={"limit": NARROW, "narrow": known}, default={"narrow": False},
              on_narrow_change=lambda: None)
    return known
