# The Debian packages, by CPack: one for each component. scripts/package is the way to build them; what CPack cannot do
# is in debian.cmake, which it runs on the files before it packs them.
find_program(DPKG dpkg)
if(NOT DPKG)
	return()
endif()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME pathbus)
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "") # else it would stand before each
set(CPACK_PACKAGE_VENDOR Pathbus)
set(CPACK_PACKAGE_CONTACT "The Pathbus authors <maintainers@pathbus.example>")
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ
	WORLD_EXECUTE)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL daemon lib dev tools)
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_CURRENT_LIST_DIR}/debian.cmake)
set(debian ${CMAKE_CURRENT_LIST_DIR}/debian)

set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SOURCE pathbus)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(same "(= ${PROJECT_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE})")
set(library libpathbus${PROJECT_VERSION_MAJOR})

set(CPACK_DEBIAN_DAEMON_PACKAGE_NAME pathbusd)
set(CPACK_DEBIAN_DAEMON_PACKAGE_SECTION net)
set(CPACK_DEBIAN_DAEMON_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_DAEMON_PACKAGE_DEPENDS "adduser, init-system-helpers (>= 1.52)")
set(CPACK_DEBIAN_DAEMON_PACKAGE_RECOMMENDS pathbus-tools)
set(CPACK_DEBIAN_DAEMON_DESCRIPTION "notification bus whose topics are file paths (daemon)
Programs that have the same file open are on the same channel: one post wakes
all of them. Pathbus is as fast as a condition variable, and no wake-up is ever
lost.
.
This is the daemon of all users. Without it, programs of one user meet beside
the file; with it users hear each other, and it can be seen who is there.")

set(CPACK_DEBIAN_LIB_PACKAGE_NAME ${library})
set(CPACK_DEBIAN_LIB_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_LIB_PACKAGE_SUGGESTS pathbusd)
set(CPACK_DEBIAN_LIB_DESCRIPTION "notification bus whose topics are file paths (library)
Programs that have the same file open are on the same channel: one post wakes
all of them. Pathbus is as fast as a condition variable, and no wake-up is ever
lost.
.
This is the library that programs use, with the daemon and without it.")

set(CPACK_DEBIAN_DEV_PACKAGE_NAME libpathbus-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS "${library} ${same}")
set(CPACK_DEBIAN_DEV_PACKAGE_SUGGESTS "pathbus-tools, pkgconf | pkg-config | cmake")
set(CPACK_DEBIAN_DEV_DESCRIPTION "notification bus whose topics are file paths (development)
Programs that have the same file open are on the same channel: one post wakes
all of them. Pathbus is as fast as a condition variable, and no wake-up is ever
lost.
.
This is what programs are built with: the header, the manual pages of its
functions, what pkg-config and CMake want to know, and examples.")

set(CPACK_DEBIAN_TOOLS_PACKAGE_NAME pathbus-tools)
set(CPACK_DEBIAN_TOOLS_PACKAGE_SECTION utils)
set(CPACK_DEBIAN_TOOLS_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_TOOLS_PACKAGE_DEPENDS "${library} ${same}")
set(CPACK_DEBIAN_TOOLS_PACKAGE_SUGGESTS pathbusd)
set(CPACK_DEBIAN_TOOLS_DESCRIPTION "notification bus whose topics are file paths (command)
Programs that have the same file open are on the same channel: one post wakes
all of them. Pathbus is as fast as a condition variable, and no wake-up is ever
lost.
.
This is pathbusctl, with which scripts take part and admins look at the bus.")
# Where dpkg-shlibdeps finds the library of the other package.
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${CMAKE_LIBRARY_OUTPUT_DIRECTORY})

# Control files that a package calls by their plain names.
foreach(control IN ITEMS symbols triggers)
	configure_file(${debian}/${library}.${control} ${PROJECT_BINARY_DIR}/packaging/${library}/${control} COPYONLY)
	list(APPEND CPACK_DEBIAN_LIB_PACKAGE_CONTROL_EXTRA ${PROJECT_BINARY_DIR}/packaging/${library}/${control})
endforeach()
file(WRITE ${PROJECT_BINARY_DIR}/packaging/${library}/shlibs "libpathbus ${PROJECT_VERSION_MAJOR} ${library}\n")
list(APPEND CPACK_DEBIAN_LIB_PACKAGE_CONTROL_EXTRA ${PROJECT_BINARY_DIR}/packaging/${library}/shlibs)
set(scripts)
foreach(control IN ITEMS postinst prerm postrm)
	configure_file(${debian}/pathbusd.${control} ${PROJECT_BINARY_DIR}/packaging/pathbusd/${control} COPYONLY)
	list(APPEND scripts ${PROJECT_BINARY_DIR}/packaging/pathbusd/${control})
endforeach()
file(WRITE ${PROJECT_BINARY_DIR}/packaging/pathbusd/conffiles "/etc/pathbus/pathbusd.conf\n")
set(CPACK_DEBIAN_DAEMON_PACKAGE_CONTROL_EXTRA ${scripts} ${PROJECT_BINARY_DIR}/packaging/pathbusd/conffiles)

include(CPack)
