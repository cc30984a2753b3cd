"""What load.c does over gRPC, for machines without a C compiler: same arguments, same output.

It is a grpc.aio client, and slower: latencies and rates beside it mean little.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import grpc
import uvloop


async def load(
    address: str, connections: int, concurrency: int, calls: int, needle: bytes, count: int,
    path: str, body: bytes, headers: list[str],
) -> dict[str, object]:  # fmt: skip
    took: list[float] = []
    first: list[float] = []
    left = iter(range(calls))
    metadata = [
        (name.lower(), value) for name, _, value in (one.partition(": ") for one in headers)
    ]

    async def caller(channel: grpc.aio.Channel) -> None:
        ask = channel.unary_stream(path)
        for _ in left:
            begun, came, found = time.perf_counter(), 0.0, 0
            async for message in ask(body, metadata=metadata):
                found += message.count(needle)
                if found and not came:
                    came = time.perf_counter()
            if found != count:
                raise RuntimeError(f"an answer held {needle!r} {found} times, not {count}")
            took.append(time.perf_counter() - begun)
            first.append(came - begun)

    # Channels with equal options would share one connection.
    channels = [
        grpc.aio.insecure_channel(address, options=[("marsys.bench", number)])
        for number in range(connections)
    ]
    begun = time.perf_counter()
    await asyncio.gather(*(caller(channels[i % connections]) for i in range(concurrency)))
    wall = time.perf_counter() - begun
    for channel in channels:
        await channel.close()
    return {"wall": wall, "took": took, "first": first, "cpu": time.process_time()}


def main() -> int:
    protocol, address, connections, concurrency, calls, needle, count, path, body, *headers = (
        sys.argv[1:]
    )
    if protocol != "grpc":
        print("load.py speaks gRPC alone", file=sys.stderr)
        return 1
    try:
        result = uvloop.run(
            load(
                address, int(connections), int(concurrency), int(calls), needle.encode(),
                int(count), path, Path(body).read_bytes(), headers,
            )
        )  # fmt: skip
    except (grpc.RpcError, RuntimeError) as error:
        print(f"load: {error}", file=sys.stderr)
        return 1
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
