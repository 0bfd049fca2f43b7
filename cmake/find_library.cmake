# Libraries that have no CMake package, or none that works everywhere, by their files. Used by this build and, installed
# beside it, by the package that programs find.

# cloze_find_library(TARGET CACHED NAMES names... [HEADER file] [HINTS folders...]): an imported target, or none where a
# file is missing. CACHED_LIBRARY and CACHED_INCLUDE_DIR say where they are.
function(cloze_find_library TARGET CACHED)
    cmake_parse_arguments(FIND "" "HEADER" "NAMES;HINTS" ${ARGN})
    if(TARGET ${TARGET})
        return()
    endif()
    find_library(${CACHED}_LIBRARY NAMES ${FIND_NAMES} HINTS ${FIND_HINTS})
    if(FIND_HEADER)
        find_path(${CACHED}_INCLUDE_DIR ${FIND_HEADER} HINTS ${FIND_HINTS})
    endif()
    if(NOT ${CACHED}_LIBRARY OR (FIND_HEADER AND NOT ${CACHED}_INCLUDE_DIR))
        return()
    endif()
    add_library(${TARGET} INTERFACE IMPORTED)
    target_link_libraries(${TARGET} INTERFACE ${${CACHED}_LIBRARY})
    if(FIND_HEADER)
        target_include_directories(${TARGET} SYSTEM INTERFACE ${${CACHED}_INCLUDE_DIR})
    endif()
endfunction()
