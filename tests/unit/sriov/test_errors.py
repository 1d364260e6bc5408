"""One sentence that says what and who must act."""

from __future__ import annotations

import errno

from sriov.errors import DocumentError, InputError, KernelError, NotFoundError


def test_an_error_reads_as_one_sentence_with_its_hint() -> None:
    error = NotFoundError("VF 0000:3b:02.1", "there is no such PCI function", hint="create it")
    assert str(error) == "VF 0000:3b:02.1: there is no such PCI function (create it)"


def test_the_kernels_refusal_names_operation_errno_and_its_own_words() -> None:
    error = KernelError("PF 0000:3b:00.0", "set vlan 100 of VF 3", errno.EBUSY, said="firmware busy")
    assert "kernel refused to set vlan 100 of VF 3: EBUSY" in str(error)
    assert "'firmware busy'" in str(error)


def test_an_oserror_without_number_is_still_told() -> None:
    error = KernelError.from_oserror(OSError("odd"), subject="x", operation="read it")
    assert error.errno == errno.EIO


def test_several_faults_are_told_in_several_lines() -> None:
    error = DocumentError([InputError("a", "is wrong"), InputError("b", "is missing")])
    assert str(error).splitlines() == ["a: is wrong", "b: is missing"]
    assert error.subject == "a"
