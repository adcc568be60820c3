#!/bin/sh
# The house rules that grep can see, one result per rule. Run from the top of the source tree.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Lengths are a ratchet: tests/style.known lists what is longer than the rule allows, with the length that it has; it
# may shrink and must then be noted there, it may not grow.

LC_ALL=C
export LC_ALL

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
rc=0

rooms=
for d in include engine kernels vf_kling tools samples tests; do
    [ -d "$d" ] && rooms="$rooms $d"
done
# shellcheck disable=SC2086
find $rooms -type f ! -path '*/__pycache__/*' \( -name '*.c' -o -name '*.h' -o -name '*.cc' -o -name '*.cpp' \
    -o -name '*.cu' \) | sort > "$tmp/c"
lib_files=$(grep -E '^(engine|kernels|include)/' "$tmp/c")
engine_files=$(grep '^engine/' "$tmp/c")
kernel_files=$(grep '^kernels/' "$tmp/c")
vf_files=$(grep '^vf_kling/' "$tmp/c")

# code FILES: "FILE:LINE: text" with comments and the insides of strings blanked.
code() {
    [ $# -gt 0 ] || return 0
    awk '
        FNR == 1 { inside = 0 }
        {
            s = $0; out = ""
            while (s != "") {
                if (inside) {
                    i = index(s, "*/")
                    if (!i) { s = ""; break }
                    s = substr(s, i + 2); inside = 0
                } else if (match(s, /"([^"\\]|\\.)*"|\047([^\047\\]|\\.)*\047|\/\*|\/\//)) {
                    t = substr(s, RSTART, RLENGTH)
                    out = out substr(s, 1, RSTART - 1)
                    s = substr(s, RSTART + RLENGTH)
                    if (t == "/*") inside = 1
                    else if (t == "//") s = ""
                    else if (out ~ /^[ \t]*#[ \t]*include/) out = out t
                    else out = out "\"\""
                } else { out = out s; s = "" }
            }
            if (out ~ /[^ \t]/) print FILENAME ":" FNR ": " out
        }' "$@"
}

# result NAME WHAT: judges the places listed in $tmp/bad.
result() {
    if [ -s "$tmp/bad" ]; then
        echo "not ok style_$1: $2: $(wc -l < "$tmp/bad") place(s), the first is $(head -n 1 "$tmp/bad" | cut -c 1-160)"
        sed 's/^/# /' "$tmp/bad" | head -n 40
        rc=1
    else
        echo "ok style_$1"
    fi
}

# shellcheck disable=SC2086
{
code $engine_files > "$tmp/engine"
code $kernel_files > "$tmp/kernels"
code $vf_files > "$tmp/vf"
code $lib_files > "$tmp/lib"
code $(grep '^tests/' "$tmp/c") > "$tmp/tests"
}

include='# *include *[<"]'

grep -E "$include(libav|libsw)" "$tmp/lib" > "$tmp/bad"
result no_libav "engine and kernels include nothing of FFmpeg"

grep -E "$include(\.\./)*(engine|kernels|tools|tests|kling)/" "$tmp/vf" | grep -v 'kling/kling\.h[">]' > "$tmp/bad"
result vf_public_header_only "vf_kling includes nothing of ours but kling/kling.h and its own headers"

grep -E "$include(engine|vf_kling|tools|tests)/" "$tmp/kernels" > "$tmp/bad"
result kernels_alone "kernels know only shapes, strides and dtypes"

grep -E "$include(kernels/(ref|cpu|cuda)/|vf_kling/|tools/|tests/)" "$tmp/engine" > "$tmp/bad"
result engine_above_the_table "the engine sees kernels through kernels.h only"

calls='exit|_exit|_Exit|quick_exit|abort|assert|v?f?printf|puts|fputs|putchar|perror|getenv|secure_getenv|setenv'
calls="$calls|rand|srand|random|srandom|drand48|signal|sigaction|system|strtok|setlocale"
grep -E "(^|[^A-Za-z0-9_.>])($calls) *\\(" "$tmp/lib" > "$tmp/bad"
grep -E "$include(assert\.h|iostream)" "$tmp/lib" >> "$tmp/bad"
result no_process_calls "the library never ends the process, prints, reads the environment or draws from rand"

isa='_mm(256|512)?_|__m(128|256|512)|__builtin_ia32|__AVX|KL_CPU_AVX|cuda[A-Z]|cu[A-Z][a-z]+[A-Z]|__asm__|asm *\('
grep -E "(^|[^A-Za-z0-9_])($isa)|immintrin|x86intrin|arm_neon" "$tmp/engine" > "$tmp/bad"
result no_intrinsics_in_engine "the engine holds no instruction set and no CUDA"

grep -nE -e '-ffast-math|-Ofast|-funsafe-math|-fassociative-math' Makefile configure ./*/*.mak > "$tmp/bad" 2>/dev/null
result no_fast_math "nothing is built with -ffast-math"

grep -E '\.(cc|cpp|cxx|hpp)$' "$tmp/c" | grep -vxF "$(sed -n 's/^cplusplus //p' tests/style.known)" > "$tmp/bad"
result cplusplus_in_shims "C++ stays in the shims that tests/style.known names"

# At file scope or in a function: static data without const. A line with ( before any = is a function.
grep -hE ': +static |: static ' "$tmp/lib" | grep -vE 'static +(inline|const|_Noreturn)|\* *const ' |
    grep -vE '^[^=]*\(' | grep -E '[;={]' > "$tmp/bad"
result no_mutable_globals "the library keeps no mutable globals"

{
    grep -E "^engine/(sampler|unipc|euler)[^:]*:.*$include[^>\"]*(dit|vae|text_encoder|tokenizer)" "$tmp/engine"
    grep -E "^engine/vae[^:]*:.*$include[^>\"]*(dit|text_encoder|tokenizer|sampler)" "$tmp/engine"
    grep -E "^engine/(text_encoder|tokenizer)[^:]*:.*$include[^>\"]*(dit|vae|sampler)" "$tmp/engine"
    grep -E "^engine/(dit)[^:]*:.*$include[^>\"]*(vae|text_encoder|tokenizer|sampler)" "$tmp/engine"
} > "$tmp/bad"
result parts_are_strangers "sampler, transformer, VAE and text encoder do not include one another"

grep -E 'kl_[a-z0-9_]+_(sse[0-9]*|avx2|avx512|neon) *\(' "$tmp/tests" > "$tmp/bad"
result tests_use_the_table "tests never name a tuned kernel"

# shellcheck disable=SC2086
{
    find $rooms docs patches configure Makefile .ci -type f 2>/dev/null |
        grep -vE '__pycache__|/data/|/corpus/|/models/|/model/' |
        grep -E '\.(c|h|cc|cpp|cu|py|sh|mak|patch)$|^configure$|^Makefile$|^tools/[^.]*$|^tests/run$'
} | sort > "$tmp/all"
while read -r f; do
    head -n 14 "$f" | grep -q 'Copyright (c) 2026 the kling for FFmpeg developers' &&
        head -n 14 "$f" | grep -q 'SPDX-License-Identifier: LGPL-2.1-or-later' || echo "$f"
done < "$tmp/all" > "$tmp/bad"
result licence "every source opens with its copyright and licence"

xargs grep -nE '	| $' < "$tmp/c" | cut -c 1-100 > "$tmp/bad"
result whitespace "C has no tabs and no space at the end of a line"

# ---- the ratchet ------------------------------------------------------------------------------------------
# Prints RULE WHAT LENGTH for everything over the rule: lines of 120, files of 600 lines, functions of 80.
{
    while read -r f; do
        case $f in
            *.patch) continue ;;
        esac
        awk -v f="$f" 'length($0) > 120 && length($0) > m { m = length($0) } END { if (m) print "line", f, m }' "$f"
    done < "$tmp/all"
    while read -r f; do
        awk -v f="$f" '
            /^[A-Za-z_].*\(/ { split($0, a, "("); n = split(a[1], b, /[ *]+/); name = b[n] }
            /^\{/ { start = FNR }
            /^\}/ { if (start && FNR - start + 1 > 80) print "function", f ":" name, FNR - start + 1; start = 0 }
            END { if (FNR > 600) print "file", f, FNR }' "$f"
    done < "$tmp/c"
} > "$tmp/long"
grep -E '^(line|function|file) ' tests/style.known > "$tmp/known"
awk 'FILENAME == ARGV[1] { known[$1 " " $2] = $3; next }
    { k = $1 " " $2
      if (!(k in known)) print $1, $2, "is", $3, "long"
      else if ($3 > known[k]) print $1, $2, "has grown from", known[k], "to", $3 }' \
    "$tmp/known" "$tmp/long" > "$tmp/bad"
result lengths "lines <= 120 characters, functions <= 80 lines, files <= 600, or listed in tests/style.known"

awk 'FILENAME == ARGV[1] { now[$1 " " $2] = $3; next }
    { k = $1 " " $2
      if (!(k in now)) print $1, $2, "is no longer too long: remove it from tests/style.known"
      else if (now[k] < $3) print $1, $2, "has shrunk to", now[k] ": note it in tests/style.known" }' \
    "$tmp/long" "$tmp/known" > "$tmp/bad"
result ratchet "tests/style.known lists what is, not what was"

exit $rc
