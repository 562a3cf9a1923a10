"""A small agent: asks a model what to do, does it with its tools, says which step it is in, until it submits.

    python agent.py http://127.0.0.1:8000/v1/chat/completions

Standard library only. The model's address must be allowed by the policy: ``[network] allow = ["127.0.0.1:8000"]``.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import urllib.request
from typing import Any

TOOLS = ("bash", "read_file", "write_file", "submit")


def ask(url: str, messages: list[dict[str, Any]]) -> dict[str, Any]:
    body = json.dumps({"model": "scripted", "messages": messages, "tools": list(TOOLS)}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    # The address is reached directly; a proxy of the environment is for everything else.
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
        reply: dict[str, Any] = json.load(answer)["choices"][0]["message"]
    return reply


def mark(word: str, step: str) -> None:
    """Tell the supervisor that a step begins or ends; outside a sandbox there is nobody to tell."""
    program = pathlib.Path("/run/proctor/bin/proctor")
    if program.exists():
        subprocess.run([sys.executable, str(program), "mark", word, step], check=True)


def use(name: str, arguments: dict[str, str]) -> str:
    if name == "bash":
        done = subprocess.run(["bash", "-c", arguments["command"]], capture_output=True, text=True, check=False)
        return f"exit status {done.returncode}\n{done.stdout}{done.stderr}"
    if name == "read_file":
        return pathlib.Path(arguments["path"]).read_text()
    if name == "write_file":
        pathlib.Path(arguments["path"]).write_text(arguments["text"])
        return "written"
    return f"no tool {name}"


def main(url: str) -> int:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Fix the failing test in this repository."}]
    while True:
        reply = ask(url, messages)
        messages.append(reply)
        for call in reply.get("tool_calls", []):
            arguments = json.loads(call["function"]["arguments"])
            if call["function"]["name"] == "submit":
                print(arguments["answer"])
                return 0
            mark("begin", call["id"])
            try:
                result = use(call["function"]["name"], arguments)
            finally:
                mark("end", call["id"])
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
