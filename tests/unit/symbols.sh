#!/bin/sh
# SPDX-License-Identifier: MIT
# symbols.sh LIBRARY MAP SYMBOLS SONAME: the library has that name, and exports what its version script names and nothing else, in
# the versions that the packages say. SYMBOLS is that list, as Debian has it: who adds a function adds a line there, with the
# version of Pathbus in which it comes; a line that is gone is a program that does not start any more.
set -eu

exported=$(nm -D --defined-only --with-symbol-versions "$1" | awk '$2 != "A" { sub(/@@/, "@", $3); print $3 }' | sort)
promised=$(sed -n 's/^[[:space:]]*\(pathbus_[a-z0-9_]*\);$/\1/p' "$2" | sort)
expected=$(sed -n 's/^ \(pathbus_[a-z0-9_]*@PATHBUS_[0-9.]*\) [0-9.]*$/\1/p' "$3" | sort)

differ() {
	printf '%s\n' "$@"
	exit 1
}
[ -n "$promised" ] && [ "$(echo "$exported" | sed 's/@.*//')" = "$promised" ] ||
	differ "exported:" "$exported" "promised by $2:" "$promised"
[ "$exported" = "$expected" ] || differ "exported:" "$exported" "expected by $3:" "$expected"
# Each line but the first two counts, and each version has a line of its own.
lines=$(grep -c '^ pathbus_' "$3") versions=$(sed -n 's/^ pathbus_.*@\(.*\) .*/\1/p' "$3" | sort -u)
[ "$lines" -eq "$(echo "$expected" | wc -l)" ] || differ "$3: a line that is not understood"
for version in $versions; do
	grep -q "^ $version@$version [0-9.]*$" "$3" || differ "$3: no line for $version"
	grep -q "^$version {" "$2" || differ "$2: no $version"
done

soname=$(readelf -d "$1" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')
[ "$soname" = "$4" ] || differ "the library's name is $soname, not $4"
grep -q "^$4 libpathbus${4##*.} #MINVER#$" "$3" || differ "$3: is not about $4"
