"""What a person reads when the server listens: where it is, and a request to paste."""

import shlex
from argparse import Namespace


def banner(address: str, args: Namespace, *, guarded: bool) -> str:
    """address: as vLLM writes it. guarded: requests have to bring a key."""
    name = (args.served_model_name or [args.model])[0]
    key = ' -H "Authorization: Bearer $API_KEY"' if guarded else ""
    question = '{"role": "user", "content": "What is 35+21+81?"}'
    if args.uds:
        path = shlex.quote(args.uds)
        at, curl, url = f"{args.uds}  (a unix socket)", f"curl --unix-socket {path} ", "http://localhost"
    else:
        url = address.replace("0.0.0.0", "127.0.0.1")
        at, curl = f"{url}  (page: {url}/, metrics: {url}/metrics)", "curl "
    return (
        f"\nbestofn serves {name} at {at}\nTry:\n"
        f"{curl}{url}/v1/chat/completions -H 'Content-Type: application/json'{key} \\\n"
        f'  -d \'{{"model": "{name}", "messages": [{question}], "best_of": 8}}\'\n'
    )
