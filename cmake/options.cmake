# Build options and the compiler settings every room shares.

option(CLOZE_ENGINE "Build the engine and the command line; OFF leaves the kernels, their tests and their benchmarks, \
which need no library but CUDA and, for the tests, Catch2" ON)
option(CLOZE_TESTS "Build the tests (needs Catch2 2.13)" ON)
option(CLOZE_WERROR "Treat warnings as errors (on in the developer presets)" OFF)
set(CLOZE_HOST_ARCH "native" CACHE STRING
    "Processor the host code is built for: -march=<this>. 'x86-64-v3' makes one binary for a mixed cluster")
set(CLOZE_SANITIZE "" CACHE STRING "Sanitizers for host code, for example 'address,undefined' or 'thread'")

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Release, Debug or RelWithDebInfo" FORCE)
endif()

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CXX_FLAGS_RELEASE "-O3")  # asserts stay on: they cost nothing beside the arithmetic
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

find_program(CLOZE_CCACHE ccache)
if(CLOZE_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
    set(CMAKE_CXX_COMPILER_LAUNCHER ${CLOZE_CCACHE})
endif()

include(GNUInstallDirs)

# Everything a room's targets share; each room links it. Who links the installed libraries gets the includes and C++20,
# and keeps compiler flags of their own.
add_library(cloze_settings INTERFACE)
target_include_directories(cloze_settings INTERFACE
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/cloze>)
target_compile_features(cloze_settings INTERFACE cxx_std_20)
# Without OpenMP its vector pragmas still count, and the others are ignored without a word.
set(host_options -Wall -Wextra -Wmissing-field-initializers -Wno-unknown-pragmas -march=${CLOZE_HOST_ARCH} -fopenmp-simd)
if(CLOZE_WERROR)
    list(APPEND host_options -Werror)
endif()
if(CLOZE_SANITIZE)
    # GCC's flow warnings misjudge instrumented library code.
    list(APPEND host_options -fsanitize=${CLOZE_SANITIZE} -fno-omit-frame-pointer -Wno-maybe-uninitialized)
    target_link_options(cloze_settings INTERFACE -fsanitize=${CLOZE_SANITIZE})
endif()
target_compile_options(cloze_settings INTERFACE "$<BUILD_INTERFACE:$<$<COMPILE_LANGUAGE:CXX>:${host_options}>>")
