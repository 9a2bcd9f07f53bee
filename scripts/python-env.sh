#!/usr/bin/env bash
# Creates the Python environment DIR with exactly the packages in the file LIST. Recreates it if LIST has changed.
#
#   python-env.sh DIR LIST
set -euo pipefail
[ $# = 2 ] || { sed -n '2,4s/^# \{0,1\}//p' "$0"; exit 2; }

dir=$1 list=$2
! cmp -s "$list" "$dir/requirements.txt" || exit 0
echo "python-env.sh: installing $list into $dir" >&2
rm -rf "$dir"
# The lists are made for Debian's Python.
python=/usr/bin/python3
[ -x "$python" ] || python=python3
"$python" -m venv "$dir"
"$dir/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$list"
"$dir/bin/pip" check >&2
cp "$list" "$dir/requirements.txt"
