# Libraries, by their package names. Each optional one says what its absence costs (see summary.cmake).

include(${CMAKE_CURRENT_LIST_DIR}/find_library.cmake)

find_package(Threads REQUIRED)
find_package(OpenMP COMPONENTS CXX)

if(NOT CLOZE_ENGINE)
    return()
endif()

find_package(nlohmann_json 3.11 REQUIRED)  # nlohmann-json3-dev
find_package(CLI11 2.1 REQUIRED)           # libcli11-dev

cloze_find_library(cloze_xxhash XXHASH HEADER xxhash.h NAMES xxhash)  # libxxhash-dev
if(NOT TARGET cloze_xxhash)
    message(FATAL_ERROR "xxHash is not here (install libxxhash-dev)")
endif()

# oneDNN (libdnnl-dev) is found by its files: its own CMake package asks for OpenCL, which Debian does not bring with it.
# It is called for one thread at a time through OpenMP; without that it would start threads of its own.
if(OpenMP_CXX_FOUND)
    cloze_find_library(cloze_onednn DNNL HEADER oneapi/dnnl/dnnl.h NAMES dnnl)
endif()
