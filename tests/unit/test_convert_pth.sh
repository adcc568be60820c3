#!/bin/sh
# tools/convert-pth: tensors come out as they were, and nothing that a pickle asks for is run.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later

command -v python3 > /dev/null || { echo "skip convert_pth: no python3"; exit 77; }
build=${BUILD:-build}
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
rc=0

# The archives that torch.save() would write, and what people with bad intentions would, without torch.
python3 - "$tmp" <<'END' || exit 1
import collections, io, os, pickle, struct, sys, types, zipfile

tmp = sys.argv[1]
for name in ("torch", "torch._utils"):
    sys.modules[name] = types.ModuleType(name)
torch, utils = sys.modules["torch"], sys.modules["torch._utils"]


def _rebuild_tensor_v2(*a):
    pass


_rebuild_tensor_v2.__module__ = "torch._utils"
utils._rebuild_tensor_v2 = _rebuild_tensor_v2
for kind in ("FloatStorage", "BFloat16Storage"):
    setattr(torch, kind, type(kind, (), {"__module__": "torch"}))


class Stored:
    def __init__(self, kind, key, n):
        self.pid = ("storage", getattr(torch, kind), key, "cpu", n)


class Fake:
    def __init__(self, *args):
        self.args = args

    def __reduce__(self):
        return _rebuild_tensor_v2, self.args


class Evil:
    def __init__(self, fn, *args):
        self.fn, self.args = fn, args

    def __reduce__(self):
        return self.fn, self.args


class Pickler(pickle.Pickler):
    def persistent_id(self, o):
        return o.pid if isinstance(o, Stored) else None


def save(name, value, storages):
    data = io.BytesIO()
    Pickler(data, protocol=2).dump(value)
    with zipfile.ZipFile(f"{tmp}/{name}.pth", "w") as z:
        z.writestr("archive/data.pkl", data.getvalue())
        for key, b in storages.items():
            z.writestr(f"archive/data/{key}", b)


f32 = struct.pack("<12f", *range(12))
a = Stored("FloatStorage", "0", 12)
hooks = collections.OrderedDict()
good = collections.OrderedDict([("m", Fake(a, 0, (3, 4), (4, 1), False, hooks)),
                                ("t", Fake(a, 0, (4, 3), (1, 4), False, hooks)),
                                ("part", Fake(a, 4, (2, 2), (4, 1), False, hooks)),
                                ("b", Fake(Stored("BFloat16Storage", "1", 3), 0, (3,), (1,), False, hooks))])
bf16 = struct.pack("<3H", 0x3f80, 0x4000, 0xc040)
save("good", good, {"0": f32, "1": bf16})
save("wrapped", {"state_dict": good, "epoch": 3}, {"0": f32, "1": bf16})
save("cut", good, {"0": f32[:20], "1": bf16})
save("past", {"m": Fake(a, 9, (3, 4), (4, 1), False, hooks)}, {"0": f32})
save("endless", {"m": Fake(a, 0, (10 ** 9, 10 ** 9), (0, 0), False, hooks)}, {"0": f32})
save("negative", {"m": Fake(a, 0, (3, 4), (-4, 1), False, hooks)}, {"0": f32})
save("system", {"m": Evil(os.system, f"touch {tmp}/pwned")}, {})
save("eval", {"m": Evil(eval, f"open('{tmp}/pwned', 'w')")}, {})
save("import", {"m": Evil(__import__, "antigravity")}, {})
save("getattr", {"m": Evil(getattr, good, "keys")}, {})
save("empty", {}, {})
open(f"{tmp}/text.pth", "w").write("no archive")
open(f"{tmp}/legacy.pth", "wb").write(pickle.dumps({"m": 1}, protocol=2))
# an opcode that calls without a REDUCE, and one through a memo
for name, code in (("inst", b"(S'touch %s/pwned'\nios\nsystem\n." % tmp.encode()),
                   ("obj", b"(cos\nsystem\nS'touch %s/pwned'\no." % tmp.encode()),
                   ("newobj", b"\x80\x02cos\nsystem\n(S'touch %s/pwned'\nt\x81." % tmp.encode())):
    with zipfile.ZipFile(f"{tmp}/{name}.pth", "w") as z:
        z.writestr("archive/data.pkl", code)
END

# refuses NAME WORDS
refuses()
{
    tools/convert-pth "$tmp/$1.pth" "$tmp/out.safetensors" > "$tmp/log" 2>&1
    got=$?
    if [ $got != 1 ] || ! grep -qF "$2" "$tmp/log" || [ "$(wc -l < "$tmp/log")" != 1 ]; then
        echo "not ok convert_pth_$1: status $got: $(head -n 3 "$tmp/log")"
        rc=1
    elif [ -e "$tmp/pwned" ] || ls "$tmp"/out.* > /dev/null 2>&1; then
        echo "not ok convert_pth_$1: it ran, or left a file"
        rc=1
    else
        echo "ok convert_pth_$1"
    fi
}

refuses system "posix.system"
refuses eval "eval"
refuses import "__import__"
refuses getattr "getattr"
refuses inst "os.system"
refuses obj "os.system"
refuses newobj "os.system"
refuses cut "cut short"
refuses past "past its storage"
refuses endless "larger than its storage"
refuses negative "impossible shape"
refuses empty "no tensors"
refuses text "not a zip archive"
refuses legacy "not a zip archive"

for name in good wrapped; do
    if tools/convert-pth "$tmp/$name.pth" "$tmp/$name.safetensors" > "$tmp/log" 2>&1 &&
        python3 - "$tmp/$name.safetensors" > "$tmp/log" 2>&1 <<'END'
import json, struct, sys
b = open(sys.argv[1], "rb").read()
n = struct.unpack("<Q", b[:8])[0]
h = json.loads(b[8:8 + n])
def get(name, fmt):
    e = h[name]
    raw = b[8 + n + e["data_offsets"][0]:8 + n + e["data_offsets"][1]]
    return e["dtype"], e["shape"], list(struct.unpack(f"<{len(raw) // struct.calcsize(fmt)}{fmt}", raw))
assert get("m", "f") == ("F32", [3, 4], list(range(12)))
assert get("t", "f") == ("F32", [4, 3], [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11])
assert get("part", "f") == ("F32", [2, 2], [4, 5, 8, 9])
assert get("b", "H") == ("BF16", [3], [0x3f80, 0x4000, 0xc040])
END
    then
        echo "ok convert_pth_$name"
    else
        echo "not ok convert_pth_$name: $(tail -n 1 "$tmp/log")"
        rc=1
    fi
done

# The engine's own reader takes the result for sound (it is no model).
if "$build/bin/kling-info" "$tmp/good.safetensors" 2>&1 | grep -q 'neither a Wan transformer'; then
    echo "ok convert_pth_reads"
else
    echo "not ok convert_pth_reads: $("$build/bin/kling-info" "$tmp/good.safetensors" 2>&1 | tail -n 1)"
    rc=1
fi

# With torch itself, where there is one.
if [ "$KLING_GOLDEN_PYTHON" ]; then
    "$KLING_GOLDEN_PYTHON" - "$tmp" <<'END' || rc=1
import subprocess, sys, torch
from safetensors.torch import load_file
tmp = sys.argv[1]
sd = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.LayerNorm(7)).to(torch.bfloat16).state_dict()
sd["view"] = torch.arange(60.).reshape(3, 4, 5).permute(2, 0, 1)
sd["half"] = torch.randn(4).half()
sd["long"] = torch.tensor(7)
sd["param"] = torch.nn.Parameter(torch.randn(2, 2))
torch.save(sd, f"{tmp}/torch.pth")
subprocess.run(["tools/convert-pth", f"{tmp}/torch.pth", f"{tmp}/torch.safetensors"], check=True,
               stdout=subprocess.DEVNULL)
got = load_file(f"{tmp}/torch.safetensors")
same = got.keys() == sd.keys() and all(torch.equal(got[k], sd[k]) and got[k].dtype == sd[k].dtype for k in sd)
print("ok convert_pth_torch" if same else "not ok convert_pth_torch: other tensors")
sys.exit(not same)
END
else
    echo "skip convert_pth_torch: KLING_GOLDEN_PYTHON names no Python with torch"
fi
exit $rc
