#!/usr/bin/env bash
# Fails, naming file and line, when a C file is not as clang-format 14 (Debian 12's) with .clang-format leaves it.
# usage: format.sh ROOT
set -euo pipefail
cd "${1:?usage: format.sh ROOT}"
formatter=
for candidate in clang-format clang-format-14; do
    if command -v $candidate >/dev/null 2>&1 && [[ $($candidate --version) == *"version 14."* ]]; then
        formatter=$candidate
        break
    fi
done
if [[ -z $formatter ]]; then
    echo "clang-format 14 is missing (Debian 12: apt-get install clang-format)"
    exit 1
fi
if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    list=(git ls-files -z -- '*.c' '*.h')
else # an exported tree
    list=(find common client server tests -name '*.[ch]' -print0)
fi
n=$("${list[@]}" | tr -cd '\0' | wc -c)
"${list[@]}" | xargs -0 -r "$formatter" --dry-run -Werror
echo "lint.format: $n files, all formatted"
