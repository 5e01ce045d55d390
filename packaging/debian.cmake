# debian.cmake - what CPack runs on the files of the packages before it packs them: what Debian wants compressed, and the papers
# of each package in its own folder. Nothing in here may depend on when, where or as whom it runs.
find_program(GZIP gzip REQUIRED)
find_program(CHMOD chmod REQUIRED)

function(compress)
	execute_process(COMMAND ${GZIP} -9 -n -f ${ARGV} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

# With SHLIBDEPS, CPack would also write scripts that call ldconfig, which a trigger is there for.
find_program(SHLIBDEPS dpkg-shlibdeps REQUIRED)
file(WRITE ${CPACK_TEMPORARY_DIRECTORY}/debian/control "")
file(GLOB libraries ${CPACK_TEMPORARY_DIRECTORY}/lib/usr/lib/*/*.so.*.*.* ${CPACK_TEMPORARY_DIRECTORY}/lib/usr/lib/*.so.*.*.*)
execute_process(COMMAND ${SHLIBDEPS} -O ${libraries}
	WORKING_DIRECTORY ${CPACK_TEMPORARY_DIRECTORY} OUTPUT_VARIABLE depends COMMAND_ERROR_IS_FATAL ANY)
if(NOT depends MATCHES "^shlibs:Depends=([^\n]+)")
	message(FATAL_ERROR "dpkg-shlibdeps says nothing about ${libraries}: ${depends}")
endif()
set(CPACK_DEBIAN_LIB_PACKAGE_DEPENDS "${CMAKE_MATCH_1}")
file(REMOVE_RECURSE ${CPACK_TEMPORARY_DIRECTORY}/debian)

# The licence as Debian wants to read it.
set(copyright "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n")
string(APPEND copyright "Upstream-Name: Pathbus\n\nFiles: *\n")
file(READ ${CMAKE_CURRENT_LIST_DIR}/../LICENSE license)
string(REGEX MATCH "Copyright \\(c\\) ([^\n]*)" _ "${license}")
string(APPEND copyright "Copyright: ${CMAKE_MATCH_1}\nLicense: Expat\n")
string(REGEX REPLACE "^.*Copyright \\(c\\)[^\n]*\n+" "" license "${license}")
string(REGEX REPLACE "\n+$" "" license "${license}")
string(REPLACE "\n\n" "\n.\n" license "${license}")
string(REPLACE "\n" "\n " license " ${license}")
string(APPEND copyright "${license}\n")

foreach(component IN LISTS CPACK_COMPONENTS_ALL)
	string(TOUPPER ${component} upper)
	set(package ${CPACK_DEBIAN_${upper}_PACKAGE_NAME})
	set(root ${CPACK_TEMPORARY_DIRECTORY}/${component})
	set(doc ${root}/usr/share/doc/${package})

	if(EXISTS ${root}/usr/share/doc/pathbus)
		file(RENAME ${root}/usr/share/doc/pathbus ${doc})
	endif()
	file(REMOVE ${doc}/pathbusd.conf) # it is in /etc
	file(WRITE ${doc}/copyright "${copyright}")
	configure_file(${CMAKE_CURRENT_LIST_DIR}/debian/changelog ${doc}/changelog.Debian COPYONLY)
	compress(${doc}/changelog.Debian)
	file(GLOB_RECURSE pages ${root}/usr/share/man/*.[1-8])
	if(pages)
		compress(${pages})
	endif()
	# Of those that were made in here; CPack has seen to the others.
	execute_process(COMMAND ${CHMOD} -R u=rwX,go=rX ${root}/usr/share COMMAND_ERROR_IS_FATAL ANY)
endforeach()
