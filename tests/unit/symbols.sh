#!/bin/sh
# SPDX-License-Identifier: MIT
# symbols.sh LIBRARY MAP: the library exports what its version script names, and nothing else.
set -eu

exported=$(nm -D --defined-only "$1" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort)
promised=$(sed -n 's/^[[:space:]]*\(pathbus_[a-z0-9_]*\);$/\1/p' "$2" | sort)

if [ -z "$promised" ] || [ "$exported" != "$promised" ]; then
	printf 'exported:\n%s\npromised:\n%s\n' "$exported" "$promised"
	exit 1
fi
