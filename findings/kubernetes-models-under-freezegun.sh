#!/usr/bin/env bash
# kubernetes 37.0.2 (the Python client), pydantic 2, freezegun 1.5.5.
#
# `import kubernetes.client` is quick since the client's classes are imported when they are first named, and its models
# are pydantic models. freeze_time looks at every attribute of every loaded module: that look names all classes of the
# client, so their modules are imported while `datetime` is already the fake one, and the models of an API object's
# timestamps cannot be built. Freezing the clock raises, in a program that uses neither a model nor the API yet.
# Once the models were imported before, the same freeze succeeds.
#
# Seen: PydanticSchemaGenerationError for FakeDatetime on the first freeze; no error after `import kubernetes.client.models`
# has been walked.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check freezegun==1.5.5 kubernetes==37.0.2
cat >"$folder/first.py" <<'PROGRAM'
import freezegun
import kubernetes.client

try:
    with freezegun.freeze_time("2030-01-01"):
        print("frozen")
except Exception as error:
    print(type(error).__name__, "FakeDatetime" in str(error))
PROGRAM
cat >"$folder/later.py" <<'PROGRAM'
import freezegun
import kubernetes.client

for name in dir(kubernetes.client):
    getattr(kubernetes.client, name)
with freezegun.freeze_time("2030-01-01"):
    print("frozen")
PROGRAM
first=$("$folder/venv/bin/python" "$folder/first.py" 2>/dev/null)
later=$("$folder/venv/bin/python" "$folder/later.py" 2>/dev/null)
echo "first freeze: $first"
echo "with the models imported before: $later"
[ "$first" = "PydanticSchemaGenerationError True" ] || { echo "the first freeze ends otherwise now"; exit 1; }
[ "$later" = frozen ] || { echo "the later freeze ends otherwise now"; exit 1; }
