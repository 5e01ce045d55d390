#!/bin/sh
# SPDX-License-Identifier: MIT
# consumer.sh BUILD-FOLDER COMPILER FLAGS: a program builds with what is installed, by find_package alone, and runs; also where
# what is installed was moved to. A version that would not do is not taken.
set -eu

build=$1 compiler=$2 flags=$(echo "$3" | tr ';' ' ')
work=$(mktemp -d "${TMPDIR:-/tmp}/pathbus-test.XXXXXX")
trap 'rm -rf "$work"' EXIT
for component in lib dev; do
	cmake --install "$build" --prefix "$work/staged" --component $component >"$work/log" || { cat "$work/log" && exit 1; }
done
mv "$work/staged" "$work/moved"

mkdir "$work/program"
cat >"$work/program/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.21)
project(program LANGUAGES C)
find_package(pathbus ${WANTED} REQUIRED)
add_executable(program program.c)
target_link_libraries(program PRIVATE pathbus::pathbus)
END
cat >"$work/program/program.c" <<'END'
#include <pathbus.h>
#include <stdio.h>

int main(void)
{
	puts(pathbus_version());
	return pathbus_free(NULL) != NULL;
}
END

# configure WANTED
configure() {
	rm -rf "$work/build"
	cmake -S "$work/program" -B "$work/build" -DWANTED="$1" -DCMAKE_PREFIX_PATH="$work/moved" \
		-DCMAKE_C_COMPILER="$compiler" -DCMAKE_C_FLAGS="$flags" >"$work/log" 2>&1
}
version=$(sed -n 's/^Version: //p' "$(find "$work/moved" -name pathbus.pc)")
major=${version%%.*} minor=${version#*.} minor=${minor%%.*}
for wanted in "$major.$((minor + 1))" "$((major + 1))"; do
	if configure "$wanted"; then
		echo "version $version is taken for $wanted"
		exit 1
	fi
	grep -q "is not compatible\|compatible with requested version" "$work/log" || { cat "$work/log" && exit 1; }
done
configure "$major.$minor" && cmake --build "$work/build" >"$work/log" 2>&1 || { cat "$work/log" && exit 1; }
[ "$("$work/build/program")" = "$version" ]
