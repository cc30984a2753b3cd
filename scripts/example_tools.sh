#!/usr/bin/env bash
# Installs what the examples of other languages are built with, where that is Debian's to give. What
# can't be had is told; the tests of that example are skipped then.
set -euo pipefail

PACKAGES=(g++ cmake pkg-config protobuf-compiler protobuf-compiler-grpc libgrpc++-dev)

can_build_cpp() {
	local tool
	for tool in g++ cmake pkg-config protoc grpc_cpp_plugin; do
		command -v "$tool" > /dev/null || return 1
	done
	pkg-config --exists grpc++ protobuf
}

install() {
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq && apt-get install -qq --no-install-recommends "${PACKAGES[@]}" > /dev/null
}

if ! command -v npm > /dev/null; then
	echo "npm is not here: the examples for Node.js are skipped"
fi
if can_build_cpp; then
	exit 0
fi
if [[ $(id -u) -ne 0 ]] || ! command -v apt-get > /dev/null; then
	echo "not root, or no apt-get: without ${PACKAGES[*]} the example for C++ is skipped"
elif ! install; then
	echo "apt-get could not install ${PACKAGES[*]}: the example for C++ is skipped"
fi
