"""What the Streamlit pages share. The only part of cellapp that knows Streamlit."""
