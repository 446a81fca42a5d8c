#!/usr/bin/env python3
"""unicode_table.py: writes unicode_table.c, the letter, number and white-space ranges of Unicode.

usage: unicode_table.py > unicode_table.c

The data are those of Python's unicodedata; its Unicode version goes into the table. White space is the
property White_Space: the separators (Z*) and U+0009..U+000D and U+0085.
"""
import sys
import unicodedata

PER_LINE = 3
HEAD = '''/* Written by unicode_table.py from Python's unicodedata: run it again rather than edit this. */
#include "server/model/tokenizer/unicode_priv.h"

/* clang-format off */
#define L GDFO_UNICODE_LETTER
#define N GDFO_UNICODE_NUMBER
#define S GDFO_UNICODE_SPACE

const char gdfo_unicode_version[] = "%s";

const struct gdfo_unicode_range gdfo_unicode_ranges[] = {
'''
TAIL = '''};
/* clang-format on */

const size_t gdfo_unicode_n_ranges = sizeof gdfo_unicode_ranges / sizeof gdfo_unicode_ranges[0];
'''


def classify(c):
    if c in (9, 10, 11, 12, 13, 0x85):
        return 'S'
    return {'L': 'L', 'N': 'N', 'Z': 'S'}.get(unicodedata.category(chr(c))[0])


def ranges():
    first, kind = 0, None
    for c in range(sys.maxunicode + 2):
        now = classify(c) if c <= sys.maxunicode else None
        if now != kind:
            if kind:
                yield first, c - 1, kind
            first, kind = c, now


def main():
    if len(sys.argv) != 1:
        print('usage: unicode_table.py > unicode_table.c', file=sys.stderr)
        return 2
    rows = ['{0x%04X, 0x%04X, %s},' % r for r in ranges()]
    lines = ['    ' + ' '.join(rows[i:i + PER_LINE]) for i in range(0, len(rows), PER_LINE)]
    sys.stdout.write(HEAD % unicodedata.unidata_version + '\n'.join(lines) + '\n' + TAIL)
    return 0


if __name__ == '__main__':
    sys.exit(main())
