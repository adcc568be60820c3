#!/bin/sh
# The stored goldens are what their scripts make: each script runs on a copy of tests/ and its numbers are compared.
# Wants a Python with tests/golden/requirements.txt installed, named by KLING_GOLDEN_PYTHON.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later

if [ -z "$KLING_GOLDEN_PYTHON" ]; then
    echo "skip goldens_regenerate: needs torch and more from PyPI; KLING_GOLDEN_PYTHON names a Python that has them"
    exit 77
fi
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
mkdir "$tmp/tests" "$tmp/samples" && cp -R tests/golden tests/models tests/data tests/check.h "$tmp/tests/" &&
    cp -R samples/model "$tmp/samples/" || exit 1
rc=0
for gen in tests/golden/gen_*.py; do
    name=$(basename "$gen" .py)
    name=goldens_${name#gen_}
    (cd "$tmp" && "$KLING_GOLDEN_PYTHON" "$gen") > "$tmp/log" 2>&1 || {
        echo "not ok $name: $(tail -n 1 "$tmp/log")"
        rc=1
        continue
    }
    echo "ok $name"
done

# f32 arithmetic of another build or machine differs in its last bits.
"$KLING_GOLDEN_PYTHON" - "$tmp/tests/golden/data" tests/golden/data <<'END' || rc=1
import pathlib, sys
import torch
from safetensors.torch import load_file
new, old = (pathlib.Path(p) for p in sys.argv[1:])
bad = 0
for f in sorted(old.iterdir()):
    same, why = (new / f.name).read_bytes() == f.read_bytes(), "bytes differ"
    if not same and f.suffix == ".safetensors":
        a, b = load_file(new / f.name), load_file(f)
        same, why = a.keys() == b.keys(), "other tensors"
        for k in a if same else ():
            x, y = a[k].to(torch.float64), b[k].to(torch.float64)
            if x.shape != y.shape or not torch.allclose(x, y, rtol=1e-5, atol=1e-5, equal_nan=True):
                same, why = False, k
    print(f"ok golden_{f.name}" if same else f"not ok golden_{f.name}: {why}")
    bad |= not same
sys.exit(bad)
END
exit $rc
