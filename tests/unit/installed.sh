#!/bin/sh
# SPDX-License-Identifier: MIT
# installed.sh BUILD-FOLDER COMPILER [FLAG...]: a program builds with what is installed, by pkg-config alone,
# and runs; the programs are where they belong.
set -eu

build=$1
shift
prefix=$(mktemp -d "${TMPDIR:-/tmp}/pathbus-test.XXXXXX")
trap 'rm -rf "$prefix"' EXIT
cmake --install "$build" --prefix "$prefix/usr" >"$prefix/log" || { cat "$prefix/log" && exit 1; }
# Nothing goes anywhere else.
if grep '^-- \(Installing\|Up-to-date\): ' "$prefix/log" | grep -vF ": $prefix/"; then
	exit 1
fi

PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name pathbus.pc)")
export PKG_CONFIG_PATH
cat >"$prefix/program.c" <<'END'
#include <pathbus.h>

int main(void)
{
	return pathbus_free(NULL) != NULL;
}
END
# shellcheck disable=SC2046 # words on purpose
"$@" -o "$prefix/program" "$prefix/program.c" $(pkg-config --cflags --libs pathbus)
export LD_LIBRARY_PATH="$PKG_CONFIG_PATH/.."
"$prefix/program"

for program in bin/pathbusd bin/pathbusctl libexec/pathbus/pathbus-link; do
	test -x "$prefix/usr/$program" || { echo "not installed: $program" && exit 1; }
done
for page in man1/pathbusctl.1 man3/pathbus_open.3 man3/pathbus_lock_try.3 man5/pathbusd.conf.5 man7/pathbus.7 man8/pathbusd.8; do
	test -s "$prefix/usr/share/man/$page" || { echo "not installed: $page" && exit 1; }
done
