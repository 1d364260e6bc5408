"""``make demo``: the main job end to end, inside the lab's virtual machine, with times, figures and verdicts.

Exit code 0 when everything is as expected: every ping answered, every verdict ``hardware``, every VF home at the end.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from tests.fakes.kubelet import Kubelet, running_kubelet
from tests.lab import topology
from tests.lab.model import LAB
from tests.lab.path import (
    CNI_BIN,
    Attached,
    DpuNode,
    HostNode,
    PathError,
    Pod,
    iperf3,
    ping,
    python,
    run,
    running,
    talking,
    wait_until,
)

VFS = 4
PODS = (
    Pod("client", LAB.hosts[0], "0a:58:0a:01:01:0a"),
    Pod("near", LAB.hosts[0], "0a:58:0a:01:01:0b"),
    Pod("far", LAB.hosts[1], "0a:58:0a:01:02:0a"),
)


@dataclass(frozen=True)
class Pair:
    """Two pods that talk, and the class of flows that this makes."""

    title: str
    target: str
    flow_class: str


PAIRS = (Pair("same DPU", "near", "pod-pod-local"), Pair("across two DPUs (Geneve)", "far", "pod-pod-remote"))


class Demo:
    """The demo's steps in their order, each printed with its time."""

    def __init__(self) -> None:
        self.hosts = tuple(HostNode(host) for host in LAB.hosts)
        self.dpus = tuple(DpuNode(dpu, host) for dpu, host in zip(LAB.dpus, LAB.hosts, strict=True))
        self.attached: dict[str, Attached] = {}
        self.wrong: list[str] = []
        self._began = time.monotonic()

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Print a step's title at once, its time when it is done."""
        began = time.monotonic()
        print(f"\n==> {title}", flush=True)
        yield
        print(f"    ({time.monotonic() - began:.1f} s)", flush=True)

    def expect(self, holds: bool, otherwise: str) -> None:
        """Note what is not as it should be."""
        if not holds:
            self.wrong.append(otherwise)
            print(f"    NOT AS EXPECTED: {otherwise}", flush=True)

    def run(self) -> int:
        """Run everything. Returns the exit code."""
        with ExitStack() as stack:
            try:
                self.provision()
                kubelets = self.advertise(stack)
                self.start_agents(stack)
                before = self.show_devices("before")
                self.attach(stack, kubelets)
                self.wait_for_flows()
                for pair in PAIRS:
                    self.measure(pair)
                self.detach()
                after = self.show_devices("after DEL")
                self.expect(after == before, "the VFs are not what they were before ADD")
            except PathError as error:
                self.expect(False, str(error))
        total = time.monotonic() - self._began
        print(
            f"\n{'FAILED: ' + '; '.join(self.wrong) if self.wrong else 'all as expected'} ({total:.0f} s)", flush=True
        )
        return 1 if self.wrong else 0

    def provision(self) -> None:
        """Create the VFs, twice: the second run has nothing to do."""
        with self.step(f"provision {VFS} VFs on each PF (dpukit provision apply)"):
            for node in self.hosts:
                print(indent(node.provision(vfs=VFS)))
        with self.step("provision once more"):
            for node in self.hosts:
                said = node.provision(vfs=VFS)
                print(indent(said))
                self.expect("nothing written" in said, "the second provisioning wrote something")
        for node in self.hosts:
            topology.wire(node.host)

    def advertise(self, stack: ExitStack) -> tuple[Kubelet, ...]:
        """Start the device plugins beside kubelet stand-ins, and wait for their lists."""
        with self.step("advertise the VFs (dpukit-device-plugin, a kubelet stand-in)"):
            kubelets = tuple(
                stack.enter_context(running_kubelet(node.folder / "device-plugins")) for node in self.hosts
            )
            for node in self.hosts:
                name = f"device-plugin-host{node.host.index}"
                stack.enter_context(running(name, *node.plugin(), environment=node.environment))
            for node, kubelet in zip(self.hosts, kubelets, strict=True):
                kubelet.wait_for(partial(is_advertised, kubelet, node), seconds=60)
                print(f"    {node.resource}: {', '.join(healthy(kubelet, node))}")
        return kubelets

    def start_agents(self, stack: ExitStack) -> None:
        """Start an agent on each DPU with nothing to do yet, and the node daemons."""
        with self.step("start dpukit-agent on each DPU, dpukit-node on each host, install the CNI executable"):
            self.write_states()
            for node in self.dpus:
                stack.enter_context(running(f"agent-{node.dpu.netns}", *node.agent()))
            for host in self.hosts:
                name = f"node-host{host.host.index}"
                stack.enter_context(running(name, *python("cni.daemon"), environment=host.environment))
            run(*python("cni.install"), "--destination", str(CNI_BIN))
            for host in self.hosts:
                socket = host.folder / "run" / "node.sock"
                wait_until(f"{socket} is there", socket.exists)

    def attach(self, stack: ExitStack, kubelets: Sequence[Kubelet]) -> None:
        """Allocate a VF for each pod as kubelet does, and ADD."""
        with self.step("attach three pods (Allocate, then CNI ADD)"):
            for pod in PODS:
                run("ip", "netns", "add", pod.name)
                stack.callback(run, "ip", "netns", "del", pod.name)
                host = self.hosts[pod.host.index]
                (vf,), response = kubelets[pod.host.index].allocate(host.resource, 1)
                variable = "PCIDEVICE_" + host.resource.upper().replace(".", "_").replace("/", "_")
                self.expect(response.envs.get(variable) == vf, f"Allocate did not answer {variable}={vf}")
                began = time.monotonic()
                self.attached[pod.name] = host.add(pod, vf)
                milliseconds = (time.monotonic() - began) * 1000
                found = self.attached[pod.name]
                print(f"    {pod.name:8} VF {vf} as net1, {found.address}, {pod.mac}  (ADD {milliseconds:.0f} ms)")
            print(indent(run(*python("dpukit"), "attachments", environment=self.hosts[0].environment)))
            print(indent(run(*python("dpukit"), "attachments", environment=self.hosts[1].environment)))
            self.write_states()

    def write_states(self) -> None:
        """Tell each agent what should be on its DPU."""
        for node in self.dpus:
            node.attached = [one for one in self.attached.values() if one.pod.host is node.host]
            node.write_state([peer for peer in self.dpus if peer is not node])

    def wait_for_flows(self) -> None:
        """Wait until the agents have plugged the representors and programmed the flows: the first ping tells."""
        with self.step("the agents plug the representors and program the flows"):
            client = self.attached["client"].pod
            for pair in PAIRS:
                target = self.attached[pair.target]
                wait_until(f"{pair.title}: a ping arrives", partial(is_answered, client, target))

    def measure(self, pair: Pair) -> None:
        """Ping, send, and read the verdict of both ends while the flows are warm."""
        client, target = self.attached["client"], self.attached[pair.target]
        with self.step(f"{pair.title}: client {client.ip} -> {target.pod.name} {target.ip}"):
            milliseconds = ping(client.pod, target)
            self.expect(milliseconds is not None, f"{pair.title}: ping lost packets")
            rate = iperf3(client.pod, target)
            self.expect(rate > 0, f"{pair.title}: iperf3 moved nothing")
            print(f"    ping {milliseconds} ms (average of 5)   iperf3 {rate:.0f} Mbit/s")
            with talking(client.pod, target):
                for node in {one.pod.host.index: self.dpus[one.pod.host.index] for one in (client, target)}.values():
                    verdicts = node.verdicts(pair.flow_class)
                    for one in (one for one in (client, target) if one.pod.host is node.host):
                        self.judge(one, verdicts[one.pod.name])

    def judge(self, one: Attached, found: dict[str, object]) -> None:
        """Print a verdict; anything but hardware is not as expected."""
        name, because = one.pod.name, f": {found['reason']}" if found["reason"] else ""
        rules = f"{found['inHw']} of {found['total']} rules in_hw"
        print(f"    {name:8} {found['representor']:8} {found['class']}: {found['verdict']}{because} ({rules})")
        self.expect(found["verdict"] == "hardware", f"{found['class']} of {name} is {found['verdict']}{because}")

    def detach(self) -> None:
        """DEL every pod, and let the agents take the ports away."""
        with self.step("detach (CNI DEL)"):
            for one in self.attached.values():
                self.hosts[one.pod.host.index].call("DEL", one.pod, one.vf)
            self.attached.clear()
            self.write_states()
            for host in self.hosts:
                left = run(*python("dpukit"), "attachments", "-o", "json", environment=host.environment).strip()
                self.expect(left == "[]", f"attachment records are left: {left}")

    def show_devices(self, when: str) -> list[list[dict[str, object]]]:
        """Print the table of devices. Returns it as data."""
        with self.step(f"devices {when} (dpukit devices)"):
            print(indent(run(*python("dpukit"), "devices", environment=self.hosts[0].environment)))
            return [node.devices() for node in self.hosts]


def healthy(kubelet: Kubelet, node: HostNode) -> list[str]:
    """The devices a kubelet would give to pods."""
    found = kubelet.resources.get(node.resource)
    return found.healthy if found else []


def is_advertised(kubelet: Kubelet, node: HostNode) -> bool:
    """Tell whether a kubelet knows all VFs that were made."""
    return len(healthy(kubelet, node)) == VFS


def is_answered(source: Pod, target: Attached) -> bool:
    """Tell whether one ping arrives and comes back."""
    return ping(source, target, count=1) is not None


def indent(text: str) -> str:
    """Set a program's words off from the demo's own."""
    return "\n".join(f"    {line}" for line in text.rstrip().splitlines())


if __name__ == "__main__":
    sys.exit(Demo().run())
