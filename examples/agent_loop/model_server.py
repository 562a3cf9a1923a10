"""A model server with scripted replies in OpenAI's chat form, on loopback: stands in for a model, not for the agent."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FIXED = """def median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2
"""

SCRIPT: list[tuple[str, dict[str, str]]] = [
    ("bash", {"command": "git log --oneline; ls; python3 -m unittest discover -s tests"}),
    ("read_file", {"path": "src/median.py"}),
    ("write_file", {"path": "src/median.py", "text": FIXED}),
    (
        "bash",
        {"command": "python3 -m unittest discover -s tests && git -c user.name=a -c user.email=a@b commit -qam fix"},
    ),
    ("submit", {"answer": "fixed the even case"}),
]


def reply(turn: int) -> dict[str, Any]:
    name, arguments = SCRIPT[min(turn, len(SCRIPT) - 1)]
    call = {"id": f"call_{turn}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
    return {"choices": [{"message": {"role": "assistant", "content": None, "tool_calls": [call]}}]}


class Handler(BaseHTTPRequestHandler):
    """Answers the n-th turn of a conversation with the n-th reply of the script."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        turn = sum(message["role"] == "assistant" for message in asked["messages"])
        body = json.dumps(reply(turn)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the terminal for the agent."""


def serve(port: int = 0) -> ThreadingHTTPServer:
    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


if __name__ == "__main__":
    import sys

    serve(int(sys.argv[1]) if len(sys.argv) > 1 else 8000).serve_forever()
