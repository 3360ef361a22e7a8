#!/bin/sh
# Prints the notes of a release: the section of its version in CHANGELOG.md. Fails if the tag is not
# the version of pyproject.toml, or has no section.
#
#     sh .github/release_notes.sh v1.2.3
set -eu
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
if [ "$1" != "v$version" ]; then
  echo "expected the tag v$version of pyproject.toml, but got $1 - correct either" >&2
  exit 1
fi
notes=$(awk -v version="$version" '
  /^## / { shown = $2 == version; next }
  shown { print }
' CHANGELOG.md)
if [ -z "$notes" ]; then
  echo "CHANGELOG.md: expected a section '## $version', but there is none - rename Unreleased" >&2
  exit 1
fi
echo "$notes"
