# One image for every role: the server, the dispatcher, Celery's workers and beat. The command says which.
FROM python:3.13-slim AS build
WORKDIR /source
COPY requirements.txt ./
RUN python -m venv /opt/postroom \
    && /opt/postroom/bin/pip install --no-cache-dir --require-hashes --requirement requirements.txt
COPY pyproject.toml README.md LICENSE openapi.yaml ./
COPY api api
COPY schemas schemas
COPY templates templates
COPY migrations migrations
RUN /opt/postroom/bin/pip install --no-cache-dir --no-deps . \
    && /opt/postroom/bin/python -m compileall -q /opt/postroom/lib

FROM python:3.13-slim
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/postroom postroom
COPY --from=build /opt/postroom /opt/postroom
ENV PATH=/opt/postroom/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 POSTROOM_STATE=/var/lib/postroom/var
USER 10001
# All that is ever written lies here: journals, and the database where it is SQLite. The rest may be read-only.
WORKDIR /var/lib/postroom
VOLUME /var/lib/postroom
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["postroom", "serve", "--host", "0.0.0.0", "--port", "8000"]
