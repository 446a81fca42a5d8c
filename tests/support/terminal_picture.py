#!/usr/bin/env python3
"""terminal_picture.py: runs a command on a terminal and draws its screen, as it was, into an SVG.

usage: terminal_picture.py OUT.svg [--columns 100] [--rows 14] [--last WORDS] -- COMMAND...

The picture is of the last screen that showed WORDS (default: the last one of all). It knows the few escape sequences
that gdfo uses: cursor up, erase below, colours. Exit status: the command's.
"""
import argparse
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from xml.sax.saxutils import escape

COLORS = {None: '#d4d4d4', '1': '#ffffff', '32': '#7ec699', '31': '#f08d8d'}
CELL_W, CELL_H, PAD = 8.4, 19, 14


class Screen:
    """Lines of (character, colour); grows downwards, and only its lower part is ever rewritten."""

    def __init__(self, columns):
        self.columns, self.lines, self.row, self.col, self.color = columns, [[]], 0, 0, None

    def put(self, c):
        line = self.lines[self.row]
        line += [(' ', None)] * (self.col + 1 - len(line))
        line[self.col] = (c, self.color)
        self.col += 1

    def newline(self):
        self.row, self.col = self.row + 1, 0
        if self.row == len(self.lines):
            self.lines.append([])

    def escape(self, number, letter):
        if letter == 'A':
            self.row = max(0, self.row - int(number or 1))
        elif letter == 'J':
            self.lines[self.row] = self.lines[self.row][:self.col]
            del self.lines[self.row + 1:]
        elif letter == 'm':
            self.color = number if number in COLORS else None

    def feed(self, text):
        for m in re.finditer(r'\x1b\[([0-9;]*)([A-Za-z])|(.)', text, re.S):
            if m.group(2):
                self.escape(m.group(1), m.group(2))
            elif m.group(3) == '\n':
                self.newline()
            elif m.group(3) == '\r':
                self.col = 0
            else:
                self.put(m.group(3))

    def snapshot(self):
        return [list(line) for line in self.lines]


def text_of(lines):
    return '\n'.join(''.join(c for c, _ in line) for line in lines)


def svg(lines, columns):
    while lines and not lines[-1]:
        lines.pop()
    width, height = columns * CELL_W + 2 * PAD, len(lines) * CELL_H + 2 * PAD
    out = ['<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d">' % (width, height, width, height),
           '<rect width="100%" height="100%" rx="8" fill="#1e1e1e"/>',
           '<g font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="14" xml:space="preserve">']
    for i, line in enumerate(lines):
        start = 0
        while start < len(line):
            end = start
            while end < len(line) and line[end][1] == line[start][1]:
                end += 1
            words = ''.join(c for c, _ in line[start:end])
            out.append('<text x="%.1f" y="%d" fill="%s" textLength="%.1f" lengthAdjust="spacingAndGlyphs">%s</text>' % (
                PAD + start * CELL_W, PAD + 14 + i * CELL_H, COLORS[line[start][1]], len(words) * CELL_W,
                escape(words).replace(' ', '\u00a0')))      # browsers fold plain spaces, xml:space or not
            start = end
    return '\n'.join(out + ['</g>', '</svg>', ''])


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('out')
    ap.add_argument('--columns', type=int, default=100)
    ap.add_argument('--rows', type=int, default=14)
    ap.add_argument('--last', default='')
    ap.add_argument('command', nargs='+')
    a = ap.parse_args()
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('HHHH', a.rows, a.columns, 0, 0))
    p = subprocess.Popen(a.command, stdin=theirs, stdout=theirs, stderr=theirs, env=dict(os.environ, TERM='xterm'))
    os.close(theirs)
    screen, kept, pending = Screen(a.columns), None, b''
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:                     # the other end is closed
            break
        pending += data
        whole = pending[:pending.rfind(b'\n') + 1]      # a redraw ends in a newline
        pending = pending[len(whole):]
        screen.feed(whole.decode(errors='replace').replace('\r\n', '\n'))
        if whole and a.last in text_of(screen.lines):
            kept = screen.snapshot()
    if kept is None:
        sys.exit('no screen showed %r' % a.last)
    with open(a.out, 'w', encoding='utf-8') as f:
        f.write(svg(kept, a.columns))
    return p.wait()


if __name__ == '__main__':
    sys.exit(main())
