# Libraries, by their package names. Each optional one says what its absence costs (see summary.cmake).

find_package(Threads REQUIRED)
find_package(OpenMP COMPONENTS CXX)

if(NOT CLOZE_ENGINE)
    return()
endif()

find_package(nlohmann_json 3.11 REQUIRED)  # nlohmann-json3-dev
find_package(CLI11 2.1 REQUIRED)           # libcli11-dev

find_path(XXHASH_INCLUDE_DIR xxhash.h REQUIRED)  # libxxhash-dev
find_library(XXHASH_LIBRARY xxhash REQUIRED)
add_library(cloze_xxhash INTERFACE)
target_include_directories(cloze_xxhash SYSTEM INTERFACE ${XXHASH_INCLUDE_DIR})
target_link_libraries(cloze_xxhash INTERFACE ${XXHASH_LIBRARY})

# oneDNN (libdnnl-dev) is found by its files: its own CMake package asks for OpenCL, which Debian does not bring with it.
# It is called for one thread at a time through OpenMP; without that it would start threads of its own.
find_path(DNNL_INCLUDE_DIR oneapi/dnnl/dnnl.h)
find_library(DNNL_LIBRARY dnnl)
if(DNNL_INCLUDE_DIR AND DNNL_LIBRARY AND OpenMP_CXX_FOUND)
    add_library(DNNL::dnnl INTERFACE IMPORTED)
    target_include_directories(DNNL::dnnl SYSTEM INTERFACE ${DNNL_INCLUDE_DIR})
    target_link_libraries(DNNL::dnnl INTERFACE ${DNNL_LIBRARY})
    set(dnnl_FOUND TRUE)
endif()
