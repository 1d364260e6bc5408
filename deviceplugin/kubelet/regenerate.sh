#!/bin/sh
# Generate the Python code from the .proto files beside this script. Needs grpcio-tools (extra "lint").
# The generated code demands at run time a grpcio and a protobuf at least as new as the ones it was made with:
# after a new generation, raise the lower bounds in setup.cfg to them.
set -eu
cd "$(dirname "$0")/../.."
"${PYTHON:-python3}" -m grpc_tools.protoc -I. \
    --python_out=. --pyi_out=. --grpc_python_out=. \
    deviceplugin/kubelet/v1beta1.proto
# The generator's style is its own.
for file in deviceplugin/kubelet/v1beta1_pb2.pyi deviceplugin/kubelet/v1beta1_pb2_grpc.py; do
    sed -i '1i # mypy: ignore-errors' "$file"
done
