"""Write docs/contract.md and docs/errors.md from the comments of proto/.

python scripts/contract_reference.py           write them
python scripts/contract_reference.py --check   exit 1 if the committed ones differ
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

from marsys.rpc.reasons import meaning
from marsys.v1 import ErrorReason

ROOT = Path(__file__).resolve().parent.parent
_PACKAGE = ".marsys.v1."
_F = FieldDescriptorProto
# Files in the order in which a reader wants them.
_ORDER = (
    "inference_service", "generation", "content", "tool", "response", "stream", "error",
    "model_service", "oauth_service",
)  # fmt: skip
_NOTE = "<!-- Written by scripts/contract_reference.py from the comments of proto/. -->\n"

Comments = Mapping[tuple[int, ...], str]


def contract(files: Sequence[FileDescriptorProto]) -> str:
    """docs/contract.md."""
    lines = [
        "# The contract",
        "",
        _NOTE,
        "Package `marsys.v1`, in [proto/marsys/v1](../proto/marsys/v1). A field is optional unless"
        " its comment says otherwise. Errors: [errors.md](errors.md).",
        "",
    ]
    for file in files:
        lines += [f"- [{_title(file)}](#{_anchor(_title(file))})"]
    for file in files:
        comments = _comments(file)
        lines += ["", f"## {_title(file)}", "", f"`{file.name}`"]
        for index, service in enumerate(file.service):
            lines += _service(service, comments, (6, index))
        for index, message in enumerate(file.message_type):
            lines += _message(message, comments, (4, index))
        for index, enum in enumerate(file.enum_type):
            lines += _enum(enum, comments, (5, index))
    return "\n".join(lines) + "\n"


def errors(files: Sequence[FileDescriptorProto]) -> str:
    """docs/errors.md."""
    (file,) = (file for file in files if file.name.endswith("/error.proto"))
    comments = _comments(file)
    lines = [
        "# Errors",
        "",
        _NOTE,
        "A failed call carries a `google.rpc.Status` in its trailers (`grpc-status-details-bin`)"
        " with a `google.rpc.ErrorInfo` (domain `marsys.v1`, the reason below), a"
        " [`marsys.v1.ModelError`](contract.md#modelerror), a `google.rpc.RequestInfo`, where a"
        " field is at fault a `google.rpc.BadRequest`, and where a wait is advised a"
        " `google.rpc.RetryInfo`.",
        "",
        "In Python they are the classes of `marsys.agents.exceptions`: `ModelAPIError`, and for"
        " some classifications `ModelRateLimitError`, `ModelTimeoutError` and"
        " `ModelTokenLimitError`. Whether an error may pass (`is_retryable`) is told with each; the"
        " column says what holds where nothing else is known.",
        "",
        "| reason | gRPC status | classification | may pass | what it means | what to do |",
        "|---|---|---|---|---|---|",
    ]
    (index,) = (i for i, enum in enumerate(file.enum_type) if enum.name == "ErrorReason")
    for number, value in enumerate(file.enum_type[index].value):
        if not value.number:
            continue
        known = meaning(ErrorReason.Value(value.name))
        said = comments[(5, index, 2, number)].rpartition(known.code.name)[0].strip()
        lines.append(
            f"| `{value.name.removeprefix('ERROR_REASON_')}` | {known.code.name} "
            f"| `{known.classification}` | {'yes' if known.retryable else ''} "
            f"| {_cell(re.sub(r'[;,]?$', '', said))} | {_cell(known.action)} |"
        )
    return "\n".join(lines) + "\n"


def _service(
    service: ServiceDescriptorProto, comments: Comments, path: tuple[int, ...]
) -> Iterator[str]:
    yield from ("", f"### {service.name}", "", comments.get(path, ""), "")
    yield from ("| RPC | request | response | |", "|---|---|---|---|")
    for index, method in enumerate(service.method):
        request = _link(method.input_type, method.client_streaming)
        response = _link(method.output_type, method.server_streaming)
        said = _cell(comments.get((*path, 2, index), ""))
        yield f"| `{method.name}` | {request} | {response} | {said} |"


def _message(message: DescriptorProto, comments: Comments, path: tuple[int, ...]) -> Iterator[str]:
    yield from ("", f"### {message.name}", "", comments.get(path, ""))
    if not message.field:
        return
    yield from ("", "| field | type | |", "|---|---|---|")
    for index, field in enumerate(message.field):
        said = _cell(comments.get((*path, 2, index), ""))
        choice = ""
        if field.HasField("oneof_index") and not field.proto3_optional:
            choice = f" (one of `{message.oneof_decl[field.oneof_index].name}`)"
        yield f"| `{field.name}` {field.number} | {_type(message, field)}{choice} | {said} |"


def _enum(enum: EnumDescriptorProto, comments: Comments, path: tuple[int, ...]) -> Iterator[str]:
    yield from ("", f"### {enum.name}", "", comments.get(path, ""), "")
    yield from ("| value | |", "|---|---|")
    for index, value in enumerate(enum.value):
        yield f"| `{value.name}` {value.number} | {_cell(comments.get((*path, 2, index), ''))} |"


def _type(message: DescriptorProto, field: FieldDescriptorProto) -> str:
    for nested in message.nested_type:  # a map is a list of entries of its own
        if nested.options.map_entry and field.type_name.endswith(f".{message.name}.{nested.name}"):
            key, value = nested.field
            return f"map of {_type(nested, key)} to {_type(nested, value)}"
    if field.type in (_F.TYPE_MESSAGE, _F.TYPE_ENUM):
        name = _link(field.type_name, many=False)
    else:
        name = _F.Type.Name(field.type).removeprefix("TYPE_").lower()
    if field.label == _F.LABEL_REPEATED:
        return f"list of {name}"
    return f"optional {name}" if field.proto3_optional else name


def _link(name: str, many: bool) -> str:
    short = name.removeprefix(_PACKAGE)
    shown = f"[{short}](#{_anchor(short)})" if short != name else f"`{name.removeprefix('.')}`"
    return f"stream of {shown}" if many else shown


def _comments(file: FileDescriptorProto) -> dict[tuple[int, ...], str]:
    """Comments by the path of what they stand before."""
    found = {}
    for location in file.source_code_info.location:
        if location.leading_comments:
            text = " ".join(line.strip() for line in location.leading_comments.splitlines())
            found[tuple(location.path)] = text.strip()
    return found


def _title(file: FileDescriptorProto) -> str:
    return Path(file.name).stem.replace("_", " ").capitalize().replace("Oauth", "OAuth")


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _files() -> list[FileDescriptorProto]:
    """The contract's files, with their comments."""
    program = shutil.which("buf") or str(Path(sys.executable).parent / "buf")
    built = subprocess.run([program, "build", "-o", "-"], cwd=ROOT, check=True, capture_output=True)
    files = {
        Path(file.name).stem: file
        for file in FileDescriptorSet.FromString(built.stdout).file
        if file.package == "marsys.v1"
    }
    assert files.keys() == set(_ORDER), "a file is missing in _ORDER"
    return [files[name] for name in _ORDER]


def main() -> int:
    """Write or check. Returns the process's exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    files = _files()
    stale = []
    for name, text in (("contract.md", contract(files)), ("errors.md", errors(files))):
        path = ROOT / "docs" / name
        if not check:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(f"docs/{name}")
    if stale:
        print(f"stale: {', '.join(stale)}; run scripts/contract_reference.py", file=sys.stderr)
    return bool(stale)


if __name__ == "__main__":
    raise SystemExit(main())
