#!/usr/bin/env python3
"""unicode_bert.py: writes unicode_bert.c, what BERT's basic tokenizer needs of Unicode.

usage: unicode_bert.py > unicode_bert.c

The data are those of Python's unicodedata. Four tables: classes of characters (dropped, non-spacing mark,
punctuation), what is left of a character once it is decomposed (NFD) and its marks are gone (one character,
or several), and lower case. Hangul syllables are decomposed by rule, in bert_text.c, and so are not here.
"""
import sys
import unicodedata

HEAD = '''/* Written by unicode_bert.py from Python's unicodedata: run it again rather than edit this. */
#include "server/model/tokenizer/unicode_bert_priv.h"

/* clang-format off */
#define D GDFO_BERT_DROPPED
#define M GDFO_BERT_MARK
#define P GDFO_BERT_PUNCTUATION

'''
TAIL = '/* clang-format on */\n'


def points():
    return (c for c in range(sys.maxunicode + 1) if not 0xD800 <= c <= 0xDFFF)


def classify(c):
    kind = unicodedata.category(chr(c))
    if c in (0, 0xFFFD) or (kind in ('Cc', 'Cf', 'Co') and c not in (9, 10, 11, 12, 13, 0x85)):
        return 'D'
    if kind == 'Mn':
        return 'M'
    return 'P' if kind[0] == 'P' or chr(c) in '!"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~' else None


def class_ranges():
    first, kind = 0, None
    for c in range(sys.maxunicode + 2):
        now = classify(c) if c <= sys.maxunicode and not 0xD800 <= c <= 0xDFFF else None
        if now != kind:
            if kind:
                yield '{0x%04X, 0x%04X, %s},' % (first, c - 1, kind)
            first, kind = c, now


def bases():
    for c in points():
        if 0xAC00 <= c <= 0xD7A3 or classify(c) == 'M':
            continue
        kept = [ord(x) for x in unicodedata.normalize('NFD', chr(c)) if unicodedata.category(x) != 'Mn']
        if kept != [c]:
            yield c, kept


def lower_ranges():
    run = None                          # first, last, step, delta
    for c in points():
        low = chr(c).lower()
        if len(low) != 1 or low == chr(c):
            continue                    # U+0130 alone has two: bert_text.c knows it
        delta = ord(low) - c
        if run and run[3] == delta and (c - run[1] == run[2] or (run[0] == run[1] and c - run[1] <= 2)):
            run = (run[0], c, c - run[1], delta)
            continue
        if run:
            yield '{0x%04X, 0x%04X, %d, %d},' % run
        run = (c, c, 1, delta)
    yield '{0x%04X, 0x%04X, %d, %d},' % run


def table(kind, name, rows, per_line):
    rows = list(rows)
    lines = ['    ' + ' '.join(rows[i:i + per_line]) for i in range(0, len(rows), per_line)]
    count = 'const size_t gdfo_bert_n_%s = %d;\n\n' % (name, len(rows))
    return 'const struct gdfo_bert_%s gdfo_bert_%s[] = {\n%s\n};\n%s' % (kind, name, '\n'.join(lines), count)


def main():
    if len(sys.argv) != 1:
        print('usage: unicode_bert.py > unicode_bert.c', file=sys.stderr)
        return 2
    all_bases = list(bases())
    one = ['{0x%04X, 0x%04X},' % (c, kept[0]) for c, kept in all_bases if len(kept) == 1]
    several = ['{0x%04X, {%s}},' % (c, ', '.join('0x%04X' % k for k in kept)) for c, kept in all_bases if len(kept) > 1]
    sys.stdout.write(HEAD + table('range', 'ranges', class_ranges(), 3) + table('base', 'bases', one, 5) +
                     table('split', 'splits', several, 2) + table('lower', 'lowers', lower_ranges(), 4) + TAIL)
    return 0


if __name__ == '__main__':
    sys.exit(main())
