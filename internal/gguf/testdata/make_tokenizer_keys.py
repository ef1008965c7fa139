#!/usr/bin/env python3
"""Writes tokenizer_keys.json: the SHA-256 of every tokenizer key that llama.cpp's converter writes.

usage: make_tokenizer_keys.py DIRECTORY...

Each DIRECTORY is a checkpoint without weights, named like those in the test. For each, run before:

    (cd DIRECTORY && convert_hf_to_gguf.py . --vocab-only --outfile ../NAME.gguf)

Needs the package gguf.
"""

import hashlib
import json
import pathlib
import sys

import gguf

keys = {}
for name in sys.argv[1:]:
    directory = pathlib.Path(name)
    reader = gguf.GGUFReader(str(directory) + ".gguf")
    keys[directory.name] = {
        # the parts of a field are the key's length, the key, the type, and then the value
        key: hashlib.sha256(b"".join(part.tobytes() for part in field.parts[2:])).hexdigest()
        for key, field in reader.fields.items()
        if key.startswith("tokenizer.")
    }
path = pathlib.Path(__file__).parent / "tokenizer_keys.json"
path.write_text(json.dumps(keys, indent=1, sort_keys=True) + "\n")
