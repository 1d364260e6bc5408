"""A container runtime as a CNI plugin sees it: what libcni 1.3 sends for each verb, to each plugin of a list, and what it remembers.

Environment, standard input, order, result cache and the choice of a version follow its behaviour for configuration lists of
CNI 0.4.0 and later; ``tests/e2e/libcni`` holds this to ``cnitool``, call by call. It exists because the runtimes that Debian has
send neither CHECK nor GC nor STATUS, and no version above 1.0.0.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NEWEST = (1, 1, 0)
_KIND = "cniCacheV1"
_INTERFACE_KEYS = {"name", "mac", "mtu", "sandbox", "socketPath", "pciID"}
_RESULT_KEYS = {
    "interfaces": _INTERFACE_KEYS,
    "ips": {"interface", "address", "gateway"},
    "routes": {"dst", "gw", "mtu", "advmss", "priority", "table", "scope"},
}
_ADDED_BY_1_0 = {"mtu", "socketPath", "pciID"}


class PluginError(Exception):
    """A plugin failed: `code`, `msg` and `details` are its own, or libcni's when it said nothing that could be read."""

    def __init__(self, plugin: str, code: int, msg: str, details: str = "") -> None:
        super().__init__(f"{plugin}: code {code}: {msg}{'; ' if details else ''}{details}")
        self.plugin, self.code, self.msg, self.details = plugin, code, msg, details


@dataclass(frozen=True)
class Network:
    """A configuration list."""

    name: str
    version: str
    plugins: tuple[Mapping[str, Any], ...]
    text: str
    checks: bool = True
    collects: bool = True

    @classmethod
    def parse(cls, text: str) -> Network:
        """Read a ``.conflist``; of ``cniVersions`` and ``cniVersion`` the newest that this runtime knows is taken."""
        said = json.loads(text)
        known = {version for version in said.get("cniVersions", ()) if _parsed(version) <= NEWEST}
        if known and _parsed(said.get("cniVersion", "9")) <= NEWEST:
            known.add(said["cniVersion"])
        version = max(known, key=_parsed) if known else said.get("cniVersion", "")
        return cls(
            said["name"], version, tuple(said["plugins"]), text,
            checks=not said.get("disableCheck", False), collects=not said.get("disableGC", False),
        )  # fmt: skip

    def is_at_least(self, version: str) -> bool:
        return _parsed(self.version) >= _parsed(version)


@dataclass(frozen=True)
class Attachment:
    """A container's interface on a network, as a runtime knows it."""

    container: str
    netns: str
    ifname: str = "eth0"
    args: tuple[tuple[str, str], ...] = ()
    capabilities: Mapping[str, Any] = field(default_factory=dict)


class Runtime:
    """Calls plugins.

    Args:
        path: the folders in which they are.
        cache: its folder for results; it outlives a runtime, as a restart of one does.
        environment: what it was itself started with; each plugin gets that too.
        enter: words before each plugin's, for a plugin that is to run in another namespace than the test.
    """

    def __init__(
        self, path: Sequence[Path], cache: Path, *, environment: Mapping[str, str], enter: Sequence[str] = ()
    ) -> None:
        self._path, self._cache = tuple(path), cache / "results"
        self._environment, self._enter = environment, tuple(enter)

    def add(self, network: Network, attachment: Attachment) -> dict[str, Any]:
        """ADD: each plugin gets the result of the one before. Returns the last one's. A failure is not cleaned up here."""
        result: dict[str, Any] | None = None
        for plugin in network.plugins:
            config = _with_capabilities(network, plugin, attachment, result)
            said = json.loads(self._call(plugin["type"], "ADD", config, attachment))
            version = said.get("cniVersion") or network.version
            result = convert(said | {"cniVersion": version}, version)
        assert result is not None
        self._remember(network, attachment, result)
        return result

    def check(self, network: Network, attachment: Attachment) -> None:
        """CHECK each plugin, with the result of the whole list; nothing when the list says so."""
        if not network.is_at_least("0.4.0"):
            raise ValueError(f"configuration version {network.version} has no CHECK")
        if not network.checks:
            return
        result = self._recall(network, attachment)
        for plugin in network.plugins:
            self._call(plugin["type"], "CHECK", _with_capabilities(network, plugin, attachment, result), attachment)

    def delete(self, network: Network, attachment: Attachment) -> None:
        """DEL each plugin, the last one first; the result is forgotten when all have succeeded."""
        try:
            result = self._recall(network, attachment)
        except ValueError:
            self._file(network, attachment).unlink(missing_ok=True)
            result = None
        for plugin in reversed(network.plugins):
            self._call(plugin["type"], "DEL", _with_capabilities(network, plugin, attachment, result), attachment)
        self._file(network, attachment).unlink(missing_ok=True)

    def collect(self, network: Network, valid: Iterable[Attachment] | None = None) -> list[PluginError]:
        """GC: DEL what is remembered and not `valid`, then GC each plugin. Returns what failed; the rest is done all the same.

        Args:
            network: whose attachments.
            valid: those that stay; None: none does, and plugins are not told which.
        """
        if not network.collects:
            return []
        errors: list[PluginError] = []
        keep = None if valid is None else [{"containerID": one.container, "ifname": one.ifname} for one in valid]
        for stale in self._remembered(network):
            if {"containerID": stale.container, "ifname": stale.ifname} not in (keep or []):
                _collect(errors, lambda one=stale: self.delete(network, one))
        if network.is_at_least("1.1.0"):
            # The second key is an older spelling, which libcni sends as well.
            told = {} if keep is None else {"cni.dev/valid-attachments": keep, "cni.dev/attachments": keep}
            for plugin in network.plugins:
                config = _injected(network, plugin, told)
                _collect(errors, lambda one=plugin, text=config: self._call(one["type"], "GC", text, None))
        return errors

    def status(self, network: Network) -> None:
        """STATUS of each plugin in order; the first that is not ready ends it."""
        if network.is_at_least("1.1.0"):
            for plugin in network.plugins:
                self._call(plugin["type"], "STATUS", _injected(network, plugin, {}), None)

    def versions(self, plugin: str) -> list[str]:
        """Ask a plugin for the versions it knows."""
        dummy = Attachment("", "dummy", "dummy")
        said = self._call(plugin, "VERSION", {"cniVersion": "1.1.0"}, dummy, path="dummy")
        return list(json.loads(said)["supportedVersions"])

    def _call(
        self,
        plugin: str,
        verb: str,
        config: Mapping[str, Any],
        attachment: Attachment | None,
        *,
        path: str | None = None,
    ) -> str:
        one = attachment or Attachment("", "", "")
        environment = {
            **self._environment, "CNI_COMMAND": verb, "CNI_CONTAINERID": one.container, "CNI_NETNS": one.netns,
            "CNI_ARGS": ";".join(f"{key}={value}" for key, value in one.args), "CNI_IFNAME": one.ifname,
            "CNI_PATH": path or os.pathsep.join(map(str, self._path)),
        }  # fmt: skip
        words = [*self._enter, str(self._find(plugin))]
        done = subprocess.run(
            words, env=environment, input=json.dumps(config).encode(), capture_output=True, check=False
        )
        if done.returncode == 0:
            return done.stdout.decode()
        raise _error(plugin, done)

    def _find(self, plugin: str) -> Path:
        for folder in self._path:
            if (folder / plugin).is_file():
                return folder / plugin
        raise PluginError(plugin, 999, f"failed to find plugin {plugin!r} in {[str(folder) for folder in self._path]}")

    def _file(self, network: Network, attachment: Attachment) -> Path:
        return self._cache / f"{network.name}-{attachment.container}-{attachment.ifname}"

    def _remember(self, network: Network, attachment: Attachment, result: Mapping[str, Any]) -> None:
        entry = {
            "kind": _KIND, "containerId": attachment.container, "ifName": attachment.ifname, "networkName": network.name,
            "config": base64.b64encode(network.text.encode()).decode(), "netns": attachment.netns,
            "cniArgs": [list(pair) for pair in attachment.args], "capabilityArgs": dict(attachment.capabilities),
            "result": result,
        }  # fmt: skip
        self._cache.mkdir(parents=True, exist_ok=True)
        self._file(network, attachment).write_text(json.dumps(entry), encoding="utf-8")

    def _recall(self, network: Network, attachment: Attachment) -> dict[str, Any] | None:
        file = self._file(network, attachment)
        if not file.exists():
            return None
        return convert(json.loads(file.read_text(encoding="utf-8"))["result"], network.version)

    def _remembered(self, network: Network) -> list[Attachment]:
        files = sorted(self._cache.iterdir()) if self._cache.exists() else []
        entries = (json.loads(file.read_text(encoding="utf-8")) for file in files)
        return [_attachment(entry) for entry in entries if entry["networkName"] == network.name]


def _attachment(entry: Mapping[str, Any]) -> Attachment:
    args = tuple((key, value) for key, value in entry["cniArgs"])
    return Attachment(entry["containerId"], entry["netns"], entry["ifName"], args, entry["capabilityArgs"])


def convert(result: Mapping[str, Any], version: str) -> dict[str, Any]:
    """Render a result as libcni hands it on: in the given version, without what it does not know and what is empty."""
    old, new = _parsed(str(result["cniVersion"])), _parsed(version)
    if min(old, new) < (0, 3, 0) or max(old, new) > NEWEST:
        raise ValueError(f"no way from a result of {result['cniVersion']} to one of {version}")
    converted: dict[str, Any] = {"cniVersion": version}
    for key, names in _RESULT_KEYS.items():
        known = names if new >= (1, 0, 0) or key != "interfaces" else names - _ADDED_BY_1_0
        entries = [
            {name: one[name] for name in one if name in known and one[name] != ""} for one in result.get(key) or ()
        ]
        if entries:
            converted[key] = entries
    if new < (1, 0, 0):
        for one in converted.get("ips", ()):
            one["version"] = "6" if ":" in one["address"] else "4"
    dns = {key: value for key, value in (result.get("dns") or {}).items() if value}
    # An empty one is left out since 1.0.0 only.
    return converted | ({"dns": dns} if dns or new < (1, 0, 0) else {})


def _with_capabilities(
    network: Network, plugin: Mapping[str, Any], attachment: Attachment, result: Mapping[str, Any] | None
) -> dict[str, Any]:
    wanted = [name for name, on in plugin.get("capabilities", {}).items() if on]
    given = {name: attachment.capabilities[name] for name in wanted if name in attachment.capabilities}
    more: dict[str, Any] = {"runtimeConfig": given} if given else {}
    return _injected(network, plugin, more | ({"prevResult": result} if result is not None else {}))


def _injected(network: Network, plugin: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    return {**plugin, "name": network.name, "cniVersion": network.version, **more}


def _collect(errors: list[PluginError], call: Any) -> None:  # noqa: ANN401 (a call without words)
    try:
        call()
    except PluginError as error:
        errors.append(error)


def _error(plugin: str, done: subprocess.CompletedProcess[bytes]) -> PluginError:
    try:
        said = json.loads(done.stdout)
        return PluginError(plugin, int(said.get("code", 0)), str(said.get("msg", "")), str(said.get("details", "")))
    except ValueError:
        text = (done.stdout or done.stderr).decode(errors="replace")
        return PluginError(plugin, 999, f"netplugin failed with exit status {done.returncode}: {text!r}")


def _parsed(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
