"""The sandboxes' image, made from nothing: one program that sleeps, in an OCI archive.

No registry, no compiler. Layout: OCI image format specification 1.0, "Image Layout"; the annotation that names the image is
containerd's own (``images/annotations.go``).
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tarfile
from pathlib import Path

NAME = "dpukit.test/pause:1"
_OCI = "application/vnd.oci.image"
_BASE = 0x400000
# mov eax, 34 (pause); syscall; jmp to the start: sleeps until SIGKILL, which is how runtimes end a sandbox.
_CODE = bytes.fromhex("b8220000000f05ebf7")


def render_pause() -> bytes:
    """Render the program: an ELF file for x86-64 with one segment (elf(5))."""
    header, segment = 64, 56
    start = header + segment
    size = start + len(_CODE)
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)  # 64 bits, little endian, version 1
    elf = struct.pack("<16sHHIQQQIHHHHHH", ident, 2, 62, 1, _BASE + start, header, 0, 0, header, segment, 1, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)  # PT_LOAD, readable and executable
    return elf + load + _CODE


def write_image(path: Path) -> None:
    """Write the archive that ``ctr images import`` reads."""
    blobs: dict[str, bytes] = {}
    layer = _archive({"pause": render_pause()}, mode=0o755)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/pause"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_OCI}.manifest.v1+json",
        "config": _add(blobs, "config.v1+json", _json(config)),
        "layers": [_add(blobs, "layer.v1.tar", layer)],
    }
    named = _add(blobs, "manifest.v1+json", _json(manifest)) | {"annotations": {"io.containerd.image.name": NAME}}
    index = {"schemaVersion": 2, "mediaType": f"{_OCI}.index.v1+json", "manifests": [named]}
    files = {"oci-layout": _json({"imageLayoutVersion": "1.0.0"}), "index.json": _json(index)}
    path.write_bytes(_archive(files | {f"blobs/sha256/{digest}": blob for digest, blob in blobs.items()}, mode=0o644))


def _add(blobs: dict[str, bytes], kind: str, blob: bytes) -> dict[str, object]:
    """Put a blob among the others; return what refers to it."""
    digest = hashlib.sha256(blob).hexdigest()
    blobs[digest] = blob
    return {"mediaType": f"{_OCI}.{kind}", "digest": f"sha256:{digest}", "size": len(blob)}


def _json(document: object) -> bytes:
    return json.dumps(document).encode()


def _archive(files: dict[str, bytes], *, mode: int) -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return whole.getvalue()
