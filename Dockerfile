# cellapp in a container. CPU by default; for CUDA: docker build --build-arg TORCH_INDEX=https://pypi.org/simple .
FROM python:3.11-slim AS packages
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /build
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY requirements.txt constraints.txt ./
# PyTorch by itself: it is the largest layer, and comes from an index of its own.
RUN grep -E '^torch(vision)?==' requirements.txt > torch.txt \
    && pip install --only-binary=:all: --no-deps --index-url "$TORCH_INDEX" -r torch.txt
RUN pip install --only-binary=:all: -r requirements.txt

# The packages without what installed them.
FROM python:3.11-slim
RUN useradd --create-home --uid 1000 user
COPY --from=packages /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/home/user \
    PYTHONUNBUFFERED=1 \
    OMP_NUM_THREADS=2 \
    HF_HUB_DISABLE_TELEMETRY=1 \
    GRADIO_ANALYTICS_ENABLED=False \
    CELLAPP_WORKSPACES=/home/user/workspaces \
    CELLAPP_UI=streamlit \
    PORT=7860
USER 1000
WORKDIR /home/user/app
COPY --chown=1000:1000 . .
RUN python -m compileall -q cellapp && mkdir -p "$CELLAPP_WORKSPACES"
EXPOSE 7860 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s CMD ["python", "-m", "cellapp.ui.serve", "--check"]
CMD ["python", "-m", "cellapp.ui.serve"]
