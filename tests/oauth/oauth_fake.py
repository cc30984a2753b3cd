"""Both providers' token endpoints and backends, as strict as can be: our own, on a real socket."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

ACCOUNT = "acct-1234"
CANARY = "CANARY"  # stands in every token


def jwt(claims: Mapping[str, Any]) -> str:
    """An unsigned JSON web token whose parts need the URL alphabet."""

    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return ".".join((part({"alg": "none"}), part(claims), f"{CANARY}-{secrets.token_hex(4)}"))


@dataclass
class OAuthFake:
    """The providers.

    Attributes:
        lifetime: seconds that access tokens last.
        delay: seconds before the token endpoint answers, after the exchange is done.
        refuse: what the token endpoint answers in place of tokens: status and body.
        drops: how many streams of the ChatGPT backend break off after their first text.
        refuse_calls: what the backends answer to good tokens: status and body.
        exchanges: refresh tokens exchanged.
        reused: refresh tokens that came a second time.
        calls: requests that the backends answered with 200.
        unauthorized: requests that they refused (401).
        seen: bodies and headers of what the backends answered.
        skew: seconds that the provider's clock is ahead of this machine's.
        alive: the access tokens that the backends take -> their end; the older ones too, unless
            `one_at_a_time`.
    """

    url: str = ""
    lifetime: float = 3600.0
    delay: float = 0.0
    refuse: tuple[int, Any] | None = None
    refuse_calls: tuple[int, Any] | None = None
    drops: int = 0
    one_at_a_time: bool = False
    skew: float = 0.0
    exchanges: int = 0
    reused: int = 0
    calls: int = 0
    unauthorized: int = 0
    seen: list[tuple[Any, Mapping[str, str]]] = field(default_factory=list)
    token_headers: Mapping[str, str] = field(default_factory=dict)
    refresh_token: str = ""
    alive: dict[str, float] = field(default_factory=dict)
    spent: set[str] = field(default_factory=set)
    issued: list[str] = field(default_factory=list)

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/{kind}/token", self._token)
        app.router.add_post("/codex/responses", self._responses)
        app.router.add_post("/claude/v1/messages", self._messages)
        app.router.add_get("/claude/v1/models", self._models)
        return app

    @property
    def codex_settings(self) -> dict[str, Any]:
        return {"base_url": f"{self.url}/codex", "token_url": f"{self.url}/codex/token"}

    @property
    def claude_settings(self) -> dict[str, Any]:
        return {"base_url": f"{self.url}/claude", "token_url": f"{self.url}/claude/token"}

    @property
    def service_settings(self) -> dict[str, Any]:
        return {
            "oauth_providers": ["openai-oauth", "anthropic-oauth"],
            "providers": {
                "openai-oauth": self.codex_settings,
                "anthropic-oauth": self.claude_settings,
            },
        }

    def now(self) -> float:
        return time.time() + self.skew

    def grant(self, codex: bool, lifetime: float | None = None, age: float = 0.0) -> dict[str, Any]:
        """New tokens, or some of `age` seconds ago; the refresh token before them dies."""
        if self.one_at_a_time:
            self.alive.clear()
        life = self.lifetime if lifetime is None else lifetime
        now = self.now() - age
        claims = {"iat": now, "exp": now + life, "name": "~~~???>>>", "jti": secrets.token_hex(8)}
        access = jwt(claims) if codex else f"sk-ant-oat01-{CANARY}-{secrets.token_hex(8)}"
        self.alive[access] = now + life
        self.refresh_token = f"rt_{CANARY}_{secrets.token_hex(8)}"
        self.issued += [access, self.refresh_token]
        tokens = {"access_token": access, "refresh_token": self.refresh_token}
        if codex:
            about = {"chatgpt_account_id": ACCOUNT, "chatgpt_plan_type": "plus"}
            identity = {"email": "jo@example.com", "https://api.openai.com/auth": about}
            tokens["id_token"] = jwt(identity)
            self.issued.append(tokens["id_token"])
        else:
            tokens["expires_in"] = life
        return tokens

    def codex_login(self, path: Path, lifetime: float | None = None, age: float = 0.0) -> Path:
        """What `codex login` leaves behind, or has left `age` seconds ago."""
        tokens = self.grant(True, lifetime, age)
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - age))
        return written(
            path,
            {
                "auth_mode": "chatgpt",
                "OPENAI_API_KEY": None,
                "tokens": {**tokens, "future_field": [1, {"kept": True}]},
                "last_refresh": moment,
                "agent_identity": {"kept": "too"},
            },
            age,
        )

    def claude_login(self, path: Path, lifetime: float | None = None, age: float = 0.0) -> Path:
        """What `claude login` leaves behind, or has left `age` seconds ago."""
        tokens = self.grant(False, lifetime, age)
        return written(
            path,
            {
                "claudeAiOauth": {
                    "accessToken": tokens["access_token"],
                    "refreshToken": tokens["refresh_token"],
                    "expiresAt": round((time.time() - age + tokens["expires_in"]) * 1000),
                    "scopes": ["user:inference"],
                    "subscriptionType": "max",
                    "future_field": 7,
                },
                "mcpOAuth": {"kept": "too"},
            },
            age,
        )

    async def _token(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.token_headers = request.headers.copy()
        assert body["grant_type"] == "refresh_token"
        assert body["client_id"]
        if self.refuse is not None:
            status, answer = self.refuse
            return self._json(answer, status)
        token = body["refresh_token"]
        if token != self.refresh_token:
            self.reused += token in self.spent
            error = {"error": {"code": "refresh_token_reused", "message": f"{token} was used"}}
            return self._json(error, 401)
        self.spent.add(token)
        self.exchanges += 1
        tokens = self.grant(request.match_info["kind"] == "codex")
        if self.delay:
            await asyncio.sleep(self.delay)
        return self._json(tokens)

    async def _responses(self, request: web.Request) -> web.StreamResponse:
        refused = self._refusal(request, {"detail": "Unauthorized"})
        if refused is not None:
            return refused
        body = await request.json()
        problem = codex_problem(body)
        if not problem and request.headers.get("chatgpt-account-id") != ACCOUNT:
            problem = "no account"
        if problem:
            return self._json({"detail": problem}, 400)
        self._count(request, body)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for event in codex_events(body):
            await response.write(b"data: %s\n\n" % json.dumps(event).encode())
            if self.drops and event["type"] == "response.output_text.delta":
                self.drops -= 1
                assert request.transport is not None
                request.transport.close()
                break
        return response

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        error = {"type": "authentication_error", "message": "OAuth token has expired."}
        refused = self._refusal(request, {"type": "error", "error": error})
        if refused is not None:
            return refused
        body = await request.json()
        if "oauth-2025-04-20" not in request.headers.get("anthropic-beta", ""):
            return self._json({"error": {"message": "no beta"}}, 400)
        if "x-api-key" in request.headers:
            return self._json({"error": {"message": "a key"}}, 400)
        self._count(request, body)
        if not body.get("stream"):
            return self._json(claude_message(body))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for event in claude_events(body):
            data = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
            await response.write(data.encode())
        return response

    async def _models(self, request: web.Request) -> web.StreamResponse:
        refused = self._refusal(request, {"error": {"message": "no"}})
        if refused is not None:
            return refused
        assert "oauth-2025-04-20" in request.headers["anthropic-beta"]
        return self._json({"data": [{"id": "claude-opus-4-6", "type": "model"}]})

    def _refusal(self, request: web.Request, body: Any) -> web.StreamResponse | None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.alive.get(token, 0) <= self.now():
            self.unauthorized += 1
            return self._json(body, 401)
        if self.refuse_calls is not None:
            status, answer = self.refuse_calls
            return self._json(answer, status)
        return None

    def _count(self, request: web.Request, body: Any) -> None:
        self.calls += 1
        self.seen.append((body, request.headers.copy()))
        del self.seen[:-200]

    def _json(self, body: Any, status: int = 200) -> web.Response:
        date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(self.now()))
        return web.json_response(body, status=status, headers={"Date": date})


def written(path: Path, document: Any, age: float = 0.0) -> Path:
    """Write a file of credentials as the CLIs do, or have done `age` seconds ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    path.chmod(0o600)
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def codex_problem(body: Mapping[str, Any]) -> str:
    """What the ChatGPT backend refuses; empty: nothing."""
    if body.get("stream") is not True:
        return "Stream must be set to true"
    if body.get("store") is not False:
        return "Store must be set to false"
    if not body.get("instructions"):
        return "Instructions are required"
    for name in ("max_output_tokens", "temperature", "top_p"):
        if name in body:
            return f"Unsupported parameter: {name}"
    if any(item.get("role") == "system" for item in body["input"]):
        return "System messages are not allowed"
    return ""


def codex_events(body: Mapping[str, Any]) -> list[Any]:
    """An answer: reasoning, then a call where there are tools, else JSON or text."""
    response = {"id": "resp_1", "created_at": 1700000000, "model": body["model"], "status": None}
    reasoning = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "Hm."}],
        "encrypted_content": "opaque",
    }
    if body.get("tools") and not any(
        item.get("type") == "function_call_output" for item in body["input"]
    ):
        item: Any = {
            "type": "function_call",
            "id": "fc_1",
            "call_id": "call_1",
            "name": body["tools"][0]["name"],
            "arguments": '{"city": "Paris"}',
        }
        deltas = [{"type": "response.function_call_arguments.delta", "delta": item["arguments"]}]
    else:
        wants_json = body.get("text", {}).get("format", {}).get("type") == "json_schema"
        text = '{"answer": "4"}' if wants_json else "Paris."
        item = {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "content": [{"type": "output_text", "text": text, "annotations": []}],
        }
        deltas = [{"type": "response.output_text.delta", "delta": text, "content_index": 0}]
    usage = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}
    return [
        {"type": "response.created", "response": response},
        {"type": "response.output_item.added", "output_index": 0, "item": reasoning},
        {"type": "response.output_item.done", "output_index": 0, "item": reasoning},
        {"type": "response.output_item.added", "output_index": 1, "item": _begun(item)},
        *({"output_index": 1, "item_id": item["id"], **delta} for delta in deltas),
        {"type": "response.output_item.done", "output_index": 1, "item": item},
        # This backend's last event holds no items.
        {
            "type": "response.completed",
            "response": {**response, "status": "completed", "output": [], "usage": usage},
        },
    ]


def _begun(item: Mapping[str, Any]) -> Any:
    empty = {"arguments": ""} if "arguments" in item else {"content": []}
    return {**item, **empty}


def claude_message(body: Mapping[str, Any]) -> Any:
    """A whole answer of Anthropic Messages."""
    answered = any(
        isinstance(message["content"], list)
        and any(block.get("type") == "tool_result" for block in message["content"])
        for message in body["messages"]
    )
    content: list[Any] = []
    if body.get("thinking", {}).get("type") in ("enabled", "adaptive"):
        content.append({"type": "thinking", "thinking": "Hm.", "signature": "sig"})
    stop = "end_turn"
    if body.get("tools") and not answered:
        stop = "tool_use"
        name = body["tools"][0]["name"]
        call = {"type": "tool_use", "id": "toolu_1", "name": name, "input": {"city": "Paris"}}
        content.append(call)
    else:
        wants_json = "format" in body.get("output_config", {})
        content.append({"type": "text", "text": '{"answer": "4"}' if wants_json else "Paris."})
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {"input_tokens": 5, "output_tokens": 7},
    }


def claude_events(body: Mapping[str, Any]) -> list[Any]:
    """The same as a stream."""
    message = claude_message(body)
    events: list[Any] = [
        {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}}
    ]
    for index, block in enumerate(message["content"]):
        kind = block["type"]
        if kind == "thinking":
            begun = {"type": kind, "thinking": "", "signature": ""}
            deltas = [
                {"type": "thinking_delta", "thinking": block["thinking"]},
                {"type": "signature_delta", "signature": block["signature"]},
            ]
        elif kind == "tool_use":
            begun = {**block, "input": {}}
            deltas = [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
        else:
            begun = {"type": kind, "text": ""}
            deltas = [{"type": "text_delta", "text": block["text"]}]
        events.append({"type": "content_block_start", "index": index, "content_block": begun})
        events += [{"type": "content_block_delta", "index": index, "delta": d} for d in deltas]
        events.append({"type": "content_block_stop", "index": index})
    ended = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    events.append({"type": "message_delta", "delta": ended, "usage": message["usage"]})
    return [*events, {"type": "message_stop"}]
