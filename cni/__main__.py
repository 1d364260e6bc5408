"""The CNI plugin's entry: the thin client, with this process' own way to perform a call when there is no daemon.

Imports as little as `cni.client` does until that happens.
"""

import os

from cni import client


def perform_here(stdin: "bytes | None", netns: "int | None") -> "tuple[bytes, int]":
    """Perform a call in this process. Returns the text for standard output and the exit status.

    Args:
        stdin: the call's input; None when it could not be read.
        netns: a descriptor of the pod's namespace; None when there is none.
    """
    import logging
    from pathlib import Path

    from cni.perform import Caller, answer_bug, perform, read_node
    from sriov import log

    log.configure()
    caller = Caller(dict(os.environ), stdin, netns)
    try:
        answer = perform(
            caller,
            read_node(
                sysfs=Path(os.environ.get("DPUKIT_SYSFS") or "/sys"),
                state=Path(os.environ.get("DPUKIT_STATE") or "/var/lib/dpukit"),
            ),
        )
    except Exception as error:
        logging.getLogger(__name__).exception("a call went wrong")
        answer = answer_bug(caller, error)
    return answer.text, answer.status


if __name__ == "__main__":
    # Nothing is buffered and nothing wants cleaning up: the interpreter's own farewell costs milliseconds.
    os._exit(client.main(perform_here))
