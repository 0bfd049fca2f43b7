# Device code: through nvcc for the product, through the host compiler for the emulator of the tests.

# cloze_switch(NAME DEFAULT): what -DNAME= says, else the default that this machine and build give each time. option()
# would keep the first one: a folder that was built without tests would never run the emulator when tests are built.
macro(cloze_switch NAME DEFAULT)
    if(NOT DEFINED ${NAME})
        set(${NAME} ${DEFAULT})
    endif()
endmacro()

find_program(CLOZE_NVCC nvcc HINTS ENV CUDACXX PATHS /usr/local/cuda/bin)
if(CLOZE_NVCC)
    set(cuda_default ON)
else()
    set(cuda_default OFF)
endif()
cloze_switch(CLOZE_CUDA ${cuda_default})  # compile the kernels for NVIDIA GPUs
set(CLOZE_CUDA_ARCHITECTURES "80-real;90a-real;80-virtual" CACHE STRING
    "GPUs the kernels are built for: A100 and H100, and what the driver of a newer card compiles from")

if(CLOZE_CUDA)
    if(NOT CLOZE_NVCC)
        message(FATAL_ERROR "CLOZE_CUDA=ON needs nvcc: put it on the PATH, or set CLOZE_NVCC")
    endif()
    set(CMAKE_CUDA_COMPILER ${CLOZE_NVCC})
    set(CMAKE_CUDA_ARCHITECTURES ${CLOZE_CUDA_ARCHITECTURES})
    enable_language(CUDA)
    set(CMAKE_CUDA_STANDARD 20)
    set(CMAKE_CUDA_EXTENSIONS OFF)
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)  # CMake 3.25 does not know it for recent versions of nvcc
    set(CMAKE_CUDA_FLAGS_RELEASE "-O3")
    find_package(CUDAToolkit REQUIRED)
endif()

# cuBLASLt comes with the CUDA toolkit, or with a Python package that has no name without a version.
set(CLOZE_CUBLAS_ROOT "" CACHE PATH "Folder with include/ and lib/ of cuBLASLt, for a CUDA toolkit without it")
if(CLOZE_CUDA)
    cloze_find_library(cloze_cublaslt CUBLASLT
        HEADER cublasLt.h
        NAMES cublasLt libcublasLt.so.13 libcublasLt.so.12
        HINTS ${CUDAToolkit_INCLUDE_DIRS} ${CUDAToolkit_LIBRARY_DIR}
              ${CLOZE_CUBLAS_ROOT}/include ${CLOZE_CUBLAS_ROOT}/lib)
    if(TARGET cloze_cublaslt)
        target_include_directories(cloze_cublaslt SYSTEM INTERFACE ${CUDAToolkit_INCLUDE_DIRS})
    endif()
endif()

option(CLOZE_CUDA_SPILLS "Compile kernels that spill registers too, with a warning: tests may be slow" OFF)
set(spills -warn-spills,-Werror)
if(CLOZE_CUDA_SPILLS)
    set(spills -warn-spills)
endif()
set(CLOZE_CUDA_OPTIONS -lineinfo -Xptxas=${spills})

# cloze_cuda_target(TARGET): its .cu files go through nvcc, and a kernel that spills registers does not compile.
function(cloze_cuda_target TARGET)
    target_compile_definitions(${TARGET} PRIVATE CLOZE_CUDA)
    if("${CLOZE_CUDA_ARCHITECTURES}" MATCHES "90a")
        target_compile_definitions(${TARGET} PRIVATE CLOZE_SM_90A)
    endif()
    target_link_libraries(${TARGET} PUBLIC CUDA::cudart_static)
    target_compile_options(${TARGET} PRIVATE "$<$<COMPILE_LANGUAGE:CUDA>:${CLOZE_CUDA_OPTIONS}>")
endfunction()

# The emulator: needs fibers, and g++ for the calls its thread sanitizer puts before loads and stores. A build that links
# the real thread sanitizer would have those calls twice.
find_package(boost_context QUIET CONFIG)  # libboost-context-dev
set(emulator_default OFF)
set(CLOZE_EMULATOR_ABSENT "")
if(NOT boost_context_FOUND)
    set(CLOZE_EMULATOR_ABSENT "needs libboost-context-dev")
elseif(NOT CMAKE_CXX_COMPILER_ID STREQUAL GNU)
    set(CLOZE_EMULATOR_ABSENT "needs g++")
elseif(CLOZE_SANITIZE MATCHES thread)
    set(CLOZE_EMULATOR_ABSENT "excludes the thread sanitizer")
else()
    set(emulator_default ON)
endif()
cloze_switch(CLOZE_EMULATOR ${emulator_default})  # run the kernels on the host in the tests
if(NOT CLOZE_TESTS)
    set(CLOZE_EMULATOR OFF)
elseif(CLOZE_EMULATOR AND CLOZE_EMULATOR_ABSENT)
    message(FATAL_ERROR "CLOZE_EMULATOR=ON: the emulator ${CLOZE_EMULATOR_ABSENT}")
elseif(NOT CLOZE_EMULATOR AND NOT CLOZE_EMULATOR_ABSENT)
    set(CLOZE_EMULATOR_ABSENT "is switched off")
endif()
