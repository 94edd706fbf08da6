"""Anthropic's SDK, its older generation: older_client.py URL HOST KEY MODEL. Prints what it was answered, as JSON.

Run where that generation is the one on the path: the tests themselves have the newer one.
"""

import json
import sys
from typing import Any

import anthropic

url, host, key, model = sys.argv[1:]
ASK: Any = {"model": model, "max_tokens": 200, "messages": [{"role": "user", "content": "Say hello."}]}
COUNT: Any = {"model": model, "messages": ASK["messages"]}


def client(api_key: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key=api_key, base_url=url, max_retries=0, default_headers={"Host": host})


known = client(key)
plain = known.messages.with_raw_response.create(**ASK)
with known.messages.with_streaming_response.create(stream=True, **ASK) as response:
    streamed = b"".join(response.iter_bytes())
counted = known.messages.with_raw_response.count_tokens(**COUNT)
with known.messages.stream(**ASK) as stream:
    final_text = stream.get_final_text()
try:
    client(f"{key}x").messages.create(**ASK)
    refused: Any = None
except anthropic.APIStatusError as error:
    refused = {"name": type(error).__name__, "status": error.status_code, "body": error.body}
sys.stdout.write(
    json.dumps(
        {
            "version": anthropic.__version__,
            "plain": plain.http_response.text,
            "streamed": streamed.decode(),
            "counted": counted.http_response.text,
            "final_text": final_text,
            "models": [listed.id for listed in known.models.list()],
            "request_id": plain.headers["x-request-id"],
            "refused": refused,
        }
    )
)
