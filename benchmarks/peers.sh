#!/bin/sh
# Installs what benchmarks/engine.py compares with into a folder: llama.cpp built for this CPU, CTranslate2,
# onnxruntime-genai, transformers.
# Needs python3, cmake, ninja and a C++ compiler; takes some ten minutes on two cores.
set -e
mkdir -p "$1" && cd "$1"
python3 -m venv venv
venv/bin/pip install -q torch --index-url https://download.pytorch.org/whl/cpu
venv/bin/pip install -q transformers gguf ctranslate2 onnxruntime-genai onnx onnx-ir scikit-build-core
venv/bin/pip download -q --no-deps --no-binary :all: --no-build-isolation llama-cpp-python # its source holds llama.cpp's
tar xzf llama_cpp_python-*.tar.gz
cmake -S llama_cpp_python-*/vendor/llama.cpp -B llama -G Ninja -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON \
    -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF
cmake --build llama --target llama-bench llama-batched-bench llama-quantize
