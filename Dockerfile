FROM python:3.11-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /pipeline
# The environment is a layer of its own: it changes only with the lock.
COPY Makefile pyproject.toml constraints.txt ./
RUN make setup
COPY . .
# DVC keeps its records in a git repository.
RUN git init --quiet
ENV PATH=/pipeline/.venv/bin:$PATH
CMD ["make", "repro"]
