# Writes engine/html_entities.c: HTML's named characters, and those that ftfy also takes in capitals.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
#     python3 tools/gen-html-entities.py > engine/html_entities.c
import html
import html.entities


def quote(s):
    out, after_hex = "", False
    for b in s.encode():
        c = chr(b)
        if 32 <= b < 127 and not (after_hex and c in "0123456789abcdefABCDEF"):
            out += "\\" + c if c in '"\\' else c
            after_hex = False
        elif 32 <= b < 127:
            out += '""' + c
            after_hex = False
        else:
            out += "\\x%02x" % b
            after_hex = True
    return '"' + out + '"'


def main():
    names = html.entities.html5
    rows = []
    for name in sorted(names, key=lambda s: s.rstrip(";").encode()):
        if not name.endswith(";"):
            assert names[name + ";"] == names[name]
            continue
        bare, text = name[:-1], names[name]
        upper = ""
        if name == name.lower() and html.unescape("&" + name.upper()) == "&" + name.upper():
            upper = text.upper()
        assert len(bare) < 32 and len(text.encode()) < 8 and len(upper.encode()) < 8
        rows.append("{%s,%s,%s,%d}" % (quote(bare), quote(text), quote(upper), bare in names))
    print("""/*
 * HTML's named characters. Made by tools/gen-html-entities.py; do not edit.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "html_entities.h"

const KlHtmlEntity kl_html_entities[] = {""")
    line = ""
    for r in rows:
        if len(line) + len(r) > 114:
            print("    " + line)
            line = ""
        line += r + ","
    print("    " + line)
    print("};\nconst int kl_html_entities_nb = %d;" % len(rows))


if __name__ == "__main__":
    main()
