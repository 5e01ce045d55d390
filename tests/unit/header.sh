#!/bin/sh
# SPDX-License-Identifier: MIT
# header.sh c|c++ INCLUDE-FOLDER [COMPILER]: the public header compiles alone, twice included.
set -eu

language=$1 folder=$2
case $language in
c) set -- "$3" -std=c99 ;;
c++)
	compiler=$(command -v c++ || command -v g++ || command -v clang++) || {
		echo "SKIP: no C++ compiler"
		exit 77
	}
	set -- "$compiler" -std=c++11
	;;
esac

printf '#include <pathbus.h>\n#include <pathbus.h>\n' |
	"$@" -pedantic -Wall -Wextra -Werror -fsyntax-only -I "$folder" -x "$language" -
